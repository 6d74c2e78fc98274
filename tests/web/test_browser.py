"""The page in a real browser whose camera shows the sample: speak live, convert, enrol, in both languages.

With LIP2SPEECH_SCREENSHOTS=FOLDER the pictures of the README are written there.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lip2speech.audio.io import read_wav, write_wav
from lip2speech.constants import SAMPLE_RATE
from lip2speech.evaluation.asr.pocketsphinx import PocketSphinxASR
from tests.web.conftest import Served

WAIT_MS = 90_000
PAGE = """
navigator.mediaDevices.asked = [];
const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = (c) => { navigator.mediaDevices.asked.push(c); return ask(c); };
window.heard = []; // samples
window.holes = 0; // packets that do not begin where the one before ended
const Plain = window.WebSocket;
window.WebSocket = class extends Plain {
  constructor(...x) {
    super(...x);
    this.addEventListener("message", (m) => {
      if (!(m.data instanceof ArrayBuffer)) return;
      if (Number(new DataView(m.data).getBigInt64(0, true)) !== window.heard.length) window.holes += 1;
      window.heard.push(...new Int16Array(m.data.slice(8)));
    });
  }
};
"""
"""Notes what the page asks of the camera and what its socket hears."""


@pytest.fixture
def visit(chromium: Any, served: Served) -> Iterator[Callable[..., Any]]:
    """Open the page; every address that was asked for must be the page's own."""
    contexts, elsewhere = [], []

    def open_page(locale: str = "en-US", width: int = 1200, height: int = 1000) -> Any:
        context = chromium.new_context(
            permissions=["camera"], locale=locale, viewport={"width": width, "height": height}
        )
        contexts.append(context)
        page = context.new_page()
        page.add_init_script(PAGE)
        page.on("request", lambda r: None if is_own(r.url, served.url) else elsewhere.append(r.url))
        page.goto(served.url)
        page.wait_for_selector("#live-start", timeout=WAIT_MS)
        page.wait_for_function("document.querySelector('#live-status') !== null", timeout=WAIT_MS)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not elsewhere


def is_own(url: str, own: str) -> bool:
    return url.startswith((own, own.replace("http", "ws", 1), "data:", "blob:"))


def keep_picture(page: Any, name: str) -> None:
    """A screenshot for the README, when it is asked for."""
    if folder := os.environ.get("LIP2SPEECH_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def tab(page: Any, index: int) -> None:
    page.get_by_role("tab").nth(index).click()


def right_words(wav: torch.Tensor, text: str, seconds: float = 3.2) -> int:
    """Words of `text` (of six) that are heard in their places, in the best window of a recording."""
    recogniser, size = PocketSphinxASR(), int(seconds * SAMPLE_RATE)
    starts = range(0, max(1, len(wav) - size + 1), SAMPLE_RATE // 2)
    heard = [recogniser.transcribe(wav[start : start + size]).split() for start in starts]
    return max(sum(a == b for a, b in zip(words, text.split(), strict=False)) for words in heard)


def test_a_person_speaks_live(visit: Callable[..., Any], clip_text: str) -> None:
    page = visit()
    page.locator("#live-start").click()
    page.wait_for_function("lip2speechLive.stats.samples > 16000 * 9", timeout=WAIT_MS)
    page.wait_for_selector("#live-overlay:not([hidden])")
    keep_picture(page, "live")
    stats = page.evaluate("lip2speechLive.stats")
    heard = torch.tensor(page.evaluate("window.heard"), dtype=torch.float32) / 32768
    asked = page.evaluate("navigator.mediaDevices.asked")
    assert page.locator("#live-status").inner_text() == "A face is seen: speaking."
    page.locator("#live-stop").click()
    page.wait_for_function("document.querySelector('#live-video').srcObject === null")
    assert asked and all(request["audio"] is False for request in asked)
    assert 0 < stats["first_sound_s"] < 4 and stats["delay_s"] < 2
    assert stats["dropped"] < stats["sent"] / 4
    assert right_words(heard, clip_text) >= 4
    assert page.evaluate("window.holes") == 0 and len(heard) >= stats["samples"]
    assert heard.abs().max() > 0.05 and np.abs(np.diff(heard.numpy())).max() < 0.7  # speech, and no click


def test_a_recording_is_converted(
    visit: Callable[..., Any], served: Served, tmp_path: Path, clip_text: str
) -> None:
    page = visit()
    tab(page, 1)
    page.get_by_label("Capture from camera").first.click()
    page.locator("#video .access, #video button:has-text('Access')").first.click()
    record = page.locator("#video button[aria-label*='ecord']").first
    record.wait_for(timeout=WAIT_MS)
    time.sleep(2)
    record.click()
    time.sleep(9)
    record.click()
    page.locator("#video video[src]").first.wait_for(timeout=WAIT_MS)
    with page.expect_response(lambda r: "queue/data" in r.url, timeout=WAIT_MS):
        page.locator("#go").click()
    page.wait_for_selector("#speech a[download], #speech a[href*='speech.wav']", timeout=WAIT_MS)
    page.wait_for_selector("#spoken video", timeout=WAIT_MS)
    keep_picture(page, "convert")
    address = page.locator("#speech a[href*='speech.wav']").first.get_attribute("href")
    sound = tmp_path / "speech.wav"
    sound.write_bytes(page.request.get(address).body())
    wav = read_wav(sound)
    assert 6.5 < len(wav) / SAMPLE_RATE < 13
    assert right_words(wav, clip_text) >= 4
    assert all(request["audio"] is False for request in page.evaluate("navigator.mediaDevices.asked"))
    kept = {"speech.wav", "speech.mp4", "spectrogram.png", "voice.wav"}
    assert {p.name for p in served.files()} <= kept


def test_a_voice_is_enrolled_heard_and_deleted(
    visit: Callable[..., Any], served: Served, tmp_path: Path
) -> None:
    page = visit()
    tab(page, 2)
    recording = tmp_path / "old.wav"
    write_wav(recording, spoken_sound(8.0))
    page.locator("#recordings input[type=file]").set_input_files(str(recording))
    page.locator("#voice-name textarea, #voice-name input").first.fill("ann")
    page.locator("#recordings :text('old')").first.wait_for(timeout=WAIT_MS)
    page.locator("#enroll").click()
    page.locator(".toast-body").first.wait_for(timeout=WAIT_MS)
    assert "consent" in page.locator(".toast-body").first.inner_text()
    assert not list(served.voices.rglob("*.json"))
    page.locator("#consent textarea").fill("I am Ann and agree that this computer speaks in my voice.")
    page.locator("#enroll").click()
    page.locator("#told :text('enrolled')").wait_for(timeout=WAIT_MS)
    assert not [p for p in served.files() if p.name == "old.wav"]
    (stored,) = served.voices.rglob("*.json")
    assert json.loads(stored.read_text())["consent"].startswith("I am Ann")
    page.locator("#listen").click()
    page.wait_for_selector("#own-speech a[href]", timeout=WAIT_MS)
    keep_picture(page, "voice")
    page.locator("#delete").click()
    page.locator("#told :text('deleted')").wait_for(timeout=WAIT_MS)
    assert not list(served.voices.rglob("*.json"))


def test_japanese_on_a_phone(visit: Callable[..., Any]) -> None:
    page = visit(locale="ja-JP", width=390, height=844)
    assert page.locator("#live-start").inner_text() == "話し始める"
    assert page.get_by_role("tab").nth(1).inner_text() == "動画を変換する"
    for index in range(3):
        tab(page, index)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    keep_picture(page, "phone")
    tab(page, 1)
    page.locator("#go").click()
    page.locator(".toast-body").first.wait_for(timeout=WAIT_MS)
    assert "動画がありません" in page.locator(".toast-body").first.inner_text()


def test_the_keyboard_is_enough(visit: Callable[..., Any]) -> None:
    page = visit()
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "live-start":
            break
    assert page.evaluate("document.activeElement.id") == "live-start"
    page.keyboard.press("Enter")
    page.wait_for_function("lip2speechLive.stats.sent > 5", timeout=WAIT_MS)


def spoken_sound(seconds: float) -> torch.Tensor:
    """Something like speech: a buzz of 120 Hz that comes and goes."""
    time_s = torch.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    buzz = sum(torch.sin(2 * torch.pi * 120 * k * time_s) / k for k in range(1, 20))
    return 0.1 * buzz * (torch.sin(2 * torch.pi * 1.5 * time_s) > -0.3)
