"""Fixtures that many tests share: small, made here or drawn by us, and free of any real person.

`clip` is the sample video of a drawn face, `roi` a drawn mouth, `tone` a pure tone, `tiny_model` and
`tiny_codec` the real classes with very small numbers, `chromium` a browser that sees `clip` as its camera.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from torch import Tensor

    from lip2speech.codecs import MelCodec
    from lip2speech.models.lip2speech import LipModel

ROOT = Path(__file__).parents[1]
TONE_HZ = 440
HOLD = 20  # camera frames with a still face between two sentences
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the tests are the CPU's; benchmarks/gpu_check.py is for a GPU
os.environ.setdefault("GLOG_minloglevel", "3")  # mediapipe's chatter would hide a test's own words

# begun in the background by a shell, Ctrl-C would be ignored here and in every command that a test starts
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def clip() -> Path:
    """An mp4 of one drawn face that says a sentence, without sound."""
    return ROOT / "lip2speech" / "pretrained" / "sample.mp4"


@pytest.fixture(scope="session")
def clip_text() -> str:
    """The words that the face of `clip` says."""
    return (ROOT / "lip2speech" / "pretrained" / "sample.txt").read_text().strip()


@pytest.fixture
def roi() -> np.ndarray:
    """A mouth that opens and closes, drawn as an ellipse: (25, 96, 96) uint8."""
    y, x = np.mgrid[:96, :96].astype(np.float32)
    openings = 4 + 10 * (0.5 - 0.5 * np.cos(2 * math.pi * np.arange(25) / 12))
    lips = [((x - 48) / 22) ** 2 + ((y - 48) / opening) ** 2 for opening in openings]
    return np.stack([np.where(d < 0.6, 30, np.where(d < 1.0, 110, 170)).astype(np.uint8) for d in lips])


@pytest.fixture
def tone() -> Tensor:
    """One second of a 440 Hz sine at 16 kHz: (1, 1, 16000) float32."""
    import torch

    time = torch.arange(16_000) / 16_000
    return (0.5 * torch.sin(2 * math.pi * TONE_HZ * time))[None, None]


@pytest.fixture
def tiny_codec() -> MelCodec:
    """A MelCodec of some thousand weights: 50 Hz, 2 codebooks of 16."""
    from tests.factories import make_codec

    return make_codec()


@pytest.fixture
def tiny_model() -> LipModel:
    """A LipModel with a front end of one layer, and heads that fit `tiny_codec`."""
    from tests.factories import make_model

    return make_model()


@pytest.fixture(scope="session")
def tiny_system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder of `tiny_model` and `tiny_codec` that `convert --model` takes; it speaks noise."""
    from tests.factories import save_system

    return save_system(tmp_path_factory.mktemp("models") / "tiny")


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
    """A headless browser; without one such tests say so and are left out."""
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser is installed ({', '.join(BROWSERS)}); no page is tried in one")
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
