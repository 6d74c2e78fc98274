"""The recorder in a real browser whose camera shows the sample.

With LIP2SPEECH_SCREENSHOTS=FOLDER the screenshots of the documentation are written there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lip2speech.data.prompts import write_prompts
from lip2speech.train.adapt.recordings import MAX_DURATION_S, read_recording, read_recordings
from lip2speech.video import NoFaceError
from lip2speech.web.recorder import RecorderServer, RecordingSession
from tests.web.recorder.conftest import serving, videos

WAIT_MS = 90_000
CAMERA_LOG = """
navigator.mediaDevices.requested = [];
const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = (c) => { navigator.mediaDevices.requested.push(c); return open(c); };
"""
"""Logs what the page requests from the camera."""


class CountingValidator:
    """The real validator, or a rejection on request. Counts its calls."""

    def __init__(self) -> None:
        self.n_calls, self.reject = 0, False

    def __call__(self, video: Path) -> None:
        self.n_calls += 1
        if self.reject:
            raise NoFaceError(f"{video.name}: too dark.")
        read_recording(video)


@pytest.fixture
def validator() -> CountingValidator:
    return CountingValidator()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_prompts(tmp_path / "me", ["set blue with k four soon", "bin red at c nine now"])
    return tmp_path / "me"


@pytest.fixture
def server(folder: Path, validator: CountingValidator) -> Iterator[RecorderServer]:
    with serving(RecordingSession(folder, validator, MAX_DURATION_S)) as running:
        yield running


@pytest.fixture
def visit(chromium: Any, server: RecorderServer) -> Iterator[Callable[..., Any]]:
    """Open the page. It must request its own addresses only, without script errors."""
    contexts, foreign, errors = [], [], []

    def open_page(locale: str = "en-US", width: int = 900, height: int = 1000, scheme: str = "light") -> Any:
        viewport = {"width": width, "height": height}
        context = chromium.new_context(
            permissions=["camera"], locale=locale, viewport=viewport, color_scheme=scheme
        )
        contexts.append(context)
        page = context.new_page()
        page.add_init_script(CAMERA_LOG)
        own = (server.address, "blob:", "data:")
        page.on("request", lambda r: None if r.url.startswith(own) else foreign.append(r.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda m: errors.append(m.text) if "Content Security" in m.text else None)
        page.goto(server.address)
        wait_for_state(page, "camera_off")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not foreign
    assert not errors


def wait_for_state(page: Any, state: str) -> None:
    page.wait_for_selector(f"body[data-state={state}]", timeout=WAIT_MS)


def record(page: Any, press: Callable[[], None], seconds: float = 3.0) -> None:
    """One recording, from the first press to the result."""
    press()
    wait_for_state(page, "countdown")
    wait_for_state(page, "recording")
    time.sleep(seconds)
    press()
    wait_for_state(page, "ready")


def save_screenshot(page: Any, name: str) -> None:
    """A screenshot without the footer, which names the folder, if LIP2SPEECH_SCREENSHOTS is set."""
    if target := os.environ.get("LIP2SPEECH_SCREENSHOTS"):
        end = page.locator("footer").bounding_box()["y"] - 40
        area = {"x": 0, "y": 0, "width": page.viewport_size["width"], "height": end}
        page.screenshot(path=str(Path(target) / f"{name}.png"), clip=area)


def test_two_prompts_are_recorded_with_the_keyboard(visit: Callable[..., Any], folder: Path) -> None:
    page = visit()
    assert page.locator("#prompt").inner_text() == "set blue with k four soon"
    assert str(folder) in page.locator("#privacy").inner_text()
    page.keyboard.press("Space")
    wait_for_state(page, "ready")
    save_screenshot(page, "record")
    record(page, lambda: page.keyboard.press("Space"))
    assert page.locator("#position").inner_text().startswith("2 of 2")
    assert page.locator("#count").inner_text() == "1 recorded"
    assert page.locator("#record-again").inner_text() == "Record again: set blue with k four soon"
    record(page, lambda: page.keyboard.press("Space"))
    assert page.locator("#prompt").inner_text() == "All 2 prompts are recorded. Thank you!"
    assert page.locator("#command").inner_text() == f"lip2speech adapt train {folder} -o MODEL"
    requested = page.evaluate("navigator.mediaDevices.requested")
    assert len(requested) == 1
    assert requested[0]["audio"] is False
    recordings, failures = read_recordings(folder)
    assert [recording.text for recording in recordings] == [
        "set blue with k four soon",
        "bin red at c nine now",
    ]
    assert not failures
    assert all(50 < len(recording.roi) < 200 for recording in recordings)
    assert set(videos(folder)) == {"001.webm", "002.webm"}


def test_recording_resumes_and_never_loses_a_video(
    visit: Callable[..., Any], folder: Path, validator: CountingValidator, clip: Path
) -> None:
    (folder / "001.mp4").write_bytes(clip.read_bytes())
    page = visit()
    assert page.locator("#prompt").inner_text() == "bin red at c nine now"
    page.locator("#record").click()
    wait_for_state(page, "ready")
    page.locator("#previous").click()
    assert page.locator("#record").inner_text() == "Record again"
    validator.reject = True
    record(page, page.locator("#record").click, 1.0)
    status = page.locator("#status").inner_text()
    assert status.startswith("Not saved: your face was not detected")
    assert status.endswith("The earlier video is kept.")
    assert set(videos(folder)) == {"001.mp4"}
    validator.reject = False
    record(page, page.locator("#record").click)
    assert set(videos(folder)) == {"001.webm"}
    assert validator.n_calls == 2
    page.locator("#record").click()
    wait_for_state(page, "recording")
    page.keyboard.press("Escape")
    assert "Discarded" in page.locator("#status").inner_text()
    assert validator.n_calls == 2


def test_a_recording_survives_a_failed_upload(visit: Callable[..., Any], folder: Path) -> None:
    page = visit()
    page.locator("#record").click()
    wait_for_state(page, "ready")
    page.route("**/recordings/*", lambda route: route.abort())
    page.locator("#record").click()
    wait_for_state(page, "recording")
    time.sleep(2)
    page.locator("#record").click()
    wait_for_state(page, "unsaved")
    page.keyboard.press("ArrowRight")
    assert page.locator("#prompt").inner_text() == "set blue with k four soon"
    page.unroute("**/recordings/*")
    page.locator("#record").click()
    wait_for_state(page, "ready")
    assert set(videos(folder)) == {"001.webm"}


def test_japanese_on_a_narrow_screen(visit: Callable[..., Any]) -> None:
    page = visit(locale="ja-JP", width=390, height=844, scheme="dark")
    assert page.locator("#record").inner_text() == "カメラをオンにする"
    assert page.locator("html").get_attribute("lang") == "ja"
    page.locator("#record").click()
    wait_for_state(page, "ready")
    save_screenshot(page, "record-phone")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#next").click()
    page.locator("#next").click()
    assert page.locator("#prompt").inner_text() == "まだ録画していない文章が 2 あります。"
    page.locator("#record").click()
    assert page.locator("#prompt").inner_text() == "set blue with k four soon"
