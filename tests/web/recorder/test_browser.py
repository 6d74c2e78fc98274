"""The page in a real browser whose camera shows the sample: two prompts are recorded, as a person would.

With LIP2SPEECH_SCREENSHOTS=FOLDER the picture of the README is written there.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lip2speech.data.prompts import write_prompts
from lip2speech.train.adapt.recordings import MAX_DURATION_S, read_recording, read_recordings
from lip2speech.video import NoFaceError
from lip2speech.web.recorder import RecorderServer, RecordingSession
from tests.web.recorder.conftest import videos

WAIT_MS = 90_000
ASKED = """
navigator.mediaDevices.asked = [];
const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = (c) => { navigator.mediaDevices.asked.push(c); return ask(c); };
"""
"""Notes what the page asks of the camera."""


class Judge:
    """`read_recording`, or a refusal when it is told to. Counts what it was asked."""

    def __init__(self) -> None:
        self.asked, self.refuse = 0, False

    def __call__(self, video: Path) -> None:
        self.asked += 1
        if self.refuse:
            raise NoFaceError(f"{video.name}: too dark.")
        read_recording(video)


@pytest.fixture
def judge() -> Judge:
    return Judge()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_prompts(tmp_path / "me", ["set blue with k four soon", "bin red at c nine now"])
    return tmp_path / "me"


@pytest.fixture
def server(folder: Path, judge: Judge) -> Iterator[RecorderServer]:
    made = RecorderServer(RecordingSession(folder, judge, MAX_DURATION_S))
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.close()


@pytest.fixture
def visit(chromium: Any, server: RecorderServer) -> Iterator[Callable[..., Any]]:
    """Open the page; every address that was asked for must be the page's own, and nothing may be refused."""
    contexts, elsewhere, complaints = [], [], []

    def open_page(locale: str = "en-US", width: int = 900, height: int = 1000, scheme: str = "light") -> Any:
        viewport = {"width": width, "height": height}
        context = chromium.new_context(
            permissions=["camera"], locale=locale, viewport=viewport, color_scheme=scheme
        )
        contexts.append(context)
        page = context.new_page()
        page.add_init_script(ASKED)
        own = (server.address, "blob:", "data:")
        page.on("request", lambda r: None if r.url.startswith(own) else elsewhere.append(r.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda m: complaints.append(m.text) if "Content Security" in m.text else None)
        page.goto(server.address)
        reaches(page, "camera_off")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not elsewhere and not complaints


def reaches(page: Any, state: str) -> None:
    page.wait_for_selector(f"body[data-state={state}]", timeout=WAIT_MS)


def record(page: Any, press: Callable[[], None], seconds: float = 3.0) -> None:
    """One recording from the first press to the answer."""
    press()
    reaches(page, "count_down")
    reaches(page, "recording")
    time.sleep(seconds)
    press()
    reaches(page, "ready")


def keep_picture(page: Any, name: str) -> None:
    """A screenshot without the small print, which names this test's folder; when it is asked for."""
    if place := os.environ.get("LIP2SPEECH_SCREENSHOTS"):
        end = page.locator("footer").bounding_box()["y"] - 40
        part = {"x": 0, "y": 0, "width": page.viewport_size["width"], "height": end}
        page.screenshot(path=str(Path(place) / f"{name}.png"), clip=part)


def test_two_prompts_are_recorded_with_the_keyboard(visit: Callable[..., Any], folder: Path) -> None:
    page = visit()
    assert page.locator("#prompt").inner_text() == "set blue with k four soon"
    assert str(folder) in page.locator("#privacy").inner_text()
    page.keyboard.press("Space")
    reaches(page, "ready")
    keep_picture(page, "record")
    record(page, lambda: page.keyboard.press("Space"))
    assert page.locator("#where").inner_text().startswith("2 of 2")
    assert page.locator("#count").inner_text() == "1 recorded"
    assert page.locator("#again").inner_text() == "Again: set blue with k four soon"
    record(page, lambda: page.keyboard.press("Space"))
    assert page.locator("#prompt").inner_text() == "All 2 are recorded. Thank you!"
    assert page.locator("#command").inner_text() == f"lip2speech adapt train {folder} -o MODEL"
    asked = page.evaluate("navigator.mediaDevices.asked")
    assert len(asked) == 1 and asked[0]["audio"] is False
    takes, failures = read_recordings(folder)
    assert [take.text for take in takes] == ["set blue with k four soon", "bin red at c nine now"]
    assert not failures and all(50 < len(take.roi) < 200 for take in takes)
    assert set(videos(folder)) == {"001.webm", "002.webm"}


def test_a_capture_goes_on_where_it_stopped_and_never_loses_a_video(
    visit: Callable[..., Any], folder: Path, judge: Judge, clip: Path
) -> None:
    (folder / "001.mp4").write_bytes(clip.read_bytes())
    page = visit()
    assert page.locator("#prompt").inner_text() == "bin red at c nine now"
    page.locator("#start").click()
    reaches(page, "ready")
    page.locator("#back").click()
    assert page.locator("#start").inner_text() == "Record again"
    judge.refuse = True
    record(page, page.locator("#start").click, 1.0)
    told = page.locator("#status").inner_text()
    assert told.startswith("Not kept: your face was not seen") and told.endswith("The earlier video stays.")
    assert set(videos(folder)) == {"001.mp4"}
    judge.refuse = False
    record(page, page.locator("#start").click)
    assert set(videos(folder)) == {"001.webm"} and judge.asked == 2
    page.locator("#start").click()
    reaches(page, "recording")
    page.keyboard.press("Escape")
    assert "Discarded" in page.locator("#status").inner_text() and judge.asked == 2


def test_a_video_waits_while_nobody_answers(visit: Callable[..., Any], folder: Path) -> None:
    page = visit()
    page.locator("#start").click()
    reaches(page, "ready")
    page.route("**/takes/*", lambda route: route.abort())
    page.locator("#start").click()
    reaches(page, "recording")
    time.sleep(2)
    page.locator("#start").click()
    reaches(page, "unsaved")
    page.keyboard.press("ArrowRight")
    assert page.locator("#prompt").inner_text() == "set blue with k four soon"
    page.unroute("**/takes/*")
    page.locator("#start").click()
    reaches(page, "ready")
    assert set(videos(folder)) == {"001.webm"}


def test_japanese_on_a_narrow_screen(visit: Callable[..., Any]) -> None:
    page = visit(locale="ja-JP", width=390, height=844, scheme="dark")
    assert page.locator("#start").inner_text() == "カメラをオンにする"
    assert page.locator("html").get_attribute("lang") == "ja"
    page.locator("#start").click()
    reaches(page, "ready")
    keep_picture(page, "record-phone")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#next").click()
    page.locator("#next").click()
    assert page.locator("#prompt").inner_text() == "まだ録画していない文が 2 あります。"
    page.locator("#start").click()
    assert page.locator("#prompt").inner_text() == "set blue with k four soon"
