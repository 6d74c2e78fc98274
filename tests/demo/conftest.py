"""The page, served as a person would serve it, and a browser that sees the bundled sample as its camera."""

from __future__ import annotations

import os
import shutil
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
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
STARTS_WITHIN_S = 120
HOLD = 20  # camera frames with a still face between two sentences
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


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
        [sys.executable, "-m", "demo.app", "--port", str(port), *options],
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


@pytest.fixture(scope="session")
def camera(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Path:
    """The sample as a camera film: said, held still, and so on for ever."""
    import av

    path = tmp_path_factory.mktemp("camera") / "camera.y4m"
    with av.open(str(clip)) as source, path.open("wb") as film:
        film.write(b"YUV4MPEG2 W640 H480 F25:1 Ip A1:1 C420jpeg\n")
        for frame in source.decode(video=0):
            picture = frame.reformat(640, 480, format="yuv420p").to_ndarray().tobytes()
            film.write(b"FRAME\n" + picture)
        film.write((b"FRAME\n" + picture) * HOLD)
    return path


@pytest.fixture(scope="session")
def chromium(camera: Path) -> Iterator[Any]:
    """A headless browser; without one these tests say so and are left out."""
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser is installed ({', '.join(BROWSERS)}); the page is not tried in one")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found,
            args=[
                "--no-sandbox",
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-video-capture={camera}",
            ],
        )
        yield browser
        browser.close()
