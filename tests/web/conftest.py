"""The demo, served in a process as a user would serve it."""

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
START_TIMEOUT_S = 120


@dataclass(frozen=True)
class ServedDemo:
    """A running demo. voices: the folder of enrolled voices; temporary: the folder of everything else."""

    url: str
    voices: Path
    temporary: Path
    process: subprocess.Popen[str]

    def files(self) -> list[Path]:
        """All files in the demo's temporary folder."""
        return [path for path in self.temporary.rglob("*") if path.is_file()]

    def stop(self) -> str:
        """Send SIGTERM and return the output."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.communicate(timeout=60)[0]


def serve(folder: Path, *options: str) -> ServedDemo:
    """Start `lip2speech demo` and wait until it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    temporary, voices = folder / "tmp", folder / "voices"
    temporary.mkdir()
    environment = os.environ | {
        "TMPDIR": str(temporary), "LIP2SPEECH_VOICES": str(voices), "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "lip2speech", "demo", "--port", str(port), *options],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}/"
    for _ in range(4 * START_TIMEOUT_S):
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return ServedDemo(url, voices, temporary, process)
        except urllib.error.HTTPError:
            return ServedDemo(url, voices, temporary, process)
        except OSError:
            time.sleep(0.25)
        if process.poll() is not None:
            break
    process.kill()
    pytest.fail(f"the demo did not start: {process.communicate()[0]}")


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedDemo]:
    demo = serve(tmp_path_factory.mktemp("demo"), "--max-duration", "20", "--max-upload-mb", "5")
    yield demo
    demo.process.kill()
