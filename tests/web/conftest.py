"""The page, served as a person would serve it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STARTS_WITHIN_S = 120


@dataclass(frozen=True)
class Served:
    """A running page. voices: where it keeps enrolled voices; temporary: where everything else."""

    url: str
    voices: Path
    temporary: Path
    process: subprocess.Popen

    def files(self) -> list[Path]:
        """What lies in the page's own folder."""
        return [p for p in self.temporary.rglob("*") if p.is_file()]

    def stop(self) -> str:
        """End it as a service manager would; gives back what it wrote."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.communicate(timeout=60)[0]


def serve(folder: Path, *options: str) -> Served:
    """Start the page in a process of its own and wait for it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    temporary, voices = folder / "tmp", folder / "voices"
    temporary.mkdir()
    environment = os.environ | {
        "TMPDIR": str(temporary), "LIP2SPEECH_VOICES": str(voices), "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "lip2speech.web.app", "--port", str(port), *options],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}/"
    for _ in range(4 * STARTS_WITHIN_S):
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return Served(url, voices, temporary, process)
        except urllib.error.HTTPError:
            return Served(url, voices, temporary, process)
        except OSError:
            time.sleep(0.25)
        if process.poll() is not None:
            break
    process.kill()
    pytest.fail(f"the page did not start: {process.communicate()[0]}")


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    page = serve(tmp_path_factory.mktemp("page"), "--seconds", "20", "--megabytes", "5")
    yield page
    page.process.kill()
