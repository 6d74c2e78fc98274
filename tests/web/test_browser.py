"""The demo in a real browser whose camera shows the sample: live, convert, enroll, in both languages.

With LIP2SPEECH_SCREENSHOTS=FOLDER the screenshots of the documentation are written there.
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
from tests.web.conftest import ServedDemo
from tests.web.signals import pulsed_buzz

WAIT_MS = 90_000
RECORDING_SCRIPT = """
navigator.mediaDevices.requested = [];
const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = (c) => { navigator.mediaDevices.requested.push(c); return open(c); };
window.receivedSamples = [];
window.gaps = 0; // packets that do not start where the previous one ended
const OriginalWebSocket = window.WebSocket;
window.WebSocket = class extends OriginalWebSocket {
  constructor(...x) {
    super(...x);
    this.addEventListener("message", (m) => {
      if (!(m.data instanceof ArrayBuffer)) return;
      const first = Number(new DataView(m.data).getBigInt64(0, true));
      if (first !== window.receivedSamples.length) window.gaps += 1;
      window.receivedSamples.push(...new Int16Array(m.data.slice(8)));
    });
  }
};
"""
"""Records what the page requests from the camera and receives from its WebSocket."""


@pytest.fixture
def visit(chromium: Any, served: ServedDemo) -> Iterator[Callable[..., Any]]:
    """Open the page. It must request its own addresses only."""
    contexts, foreign = [], []

    def open_page(locale: str = "en-US", width: int = 1200, height: int = 1000) -> Any:
        context = chromium.new_context(
            permissions=["camera"], locale=locale, viewport={"width": width, "height": height}
        )
        contexts.append(context)
        page = context.new_page()
        page.add_init_script(RECORDING_SCRIPT)
        page.on("request", lambda r: None if is_own(r.url, served.url) else foreign.append(r.url))
        page.goto(served.url)
        page.wait_for_selector("#live-start", timeout=WAIT_MS)
        page.wait_for_function("document.querySelector('#live-status') !== null", timeout=WAIT_MS)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not foreign


def is_own(url: str, own: str) -> bool:
    return url.startswith((own, own.replace("http", "ws", 1), "data:", "blob:"))


def save_screenshot(page: Any, name: str) -> None:
    """Write a screenshot if LIP2SPEECH_SCREENSHOTS is set."""
    if folder := os.environ.get("LIP2SPEECH_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def open_tab(page: Any, index: int) -> None:
    page.get_by_role("tab").nth(index).click()


def count_correct_words(wav: torch.Tensor, text: str, seconds: float = 3.2) -> int:
    """Words of `text` that are recognized at their positions, in the best window of a recording."""
    asr, size = PocketSphinxASR(), int(seconds * SAMPLE_RATE)
    starts = range(0, max(1, len(wav) - size + 1), SAMPLE_RATE // 2)
    transcripts = [asr.transcribe(wav[start : start + size]).split() for start in starts]
    return max(sum(a == b for a, b in zip(words, text.split(), strict=False)) for words in transcripts)


def test_live_speech_is_intelligible_and_contiguous(visit: Callable[..., Any], clip_text: str) -> None:
    page = visit()
    page.locator("#live-start").click()
    page.wait_for_function("lip2speechLive.stats.samples > 16000 * 9", timeout=WAIT_MS)
    page.wait_for_selector("#live-face-box:not([hidden])")
    save_screenshot(page, "live")
    stats = page.evaluate("lip2speechLive.stats")
    wav = torch.tensor(page.evaluate("window.receivedSamples"), dtype=torch.float32) / 32768
    requested = page.evaluate("navigator.mediaDevices.requested")
    assert page.locator("#live-status").inner_text() == "Face detected: speaking."
    page.locator("#live-stop").click()
    page.wait_for_function("document.querySelector('#live-video').srcObject === null")
    assert requested
    assert all(request["audio"] is False for request in requested)
    assert 0 < stats["first_audio_s"] < 4
    assert stats["delay_s"] < 2
    assert stats["dropped_frames"] < stats["sent"] / 4
    assert count_correct_words(wav, clip_text) >= 4
    assert page.evaluate("window.gaps") == 0
    assert len(wav) >= stats["samples"]
    assert wav.abs().max() > 0.05
    assert np.abs(np.diff(wav.numpy())).max() < 0.7  # no click


def test_a_camera_recording_is_converted(
    visit: Callable[..., Any], served: ServedDemo, tmp_path: Path, clip_text: str
) -> None:
    page = visit()
    open_tab(page, 1)
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
        page.locator("#convert-button").click()
    page.wait_for_selector("#speech a[download], #speech a[href*='speech.wav']", timeout=WAIT_MS)
    page.wait_for_selector("#result-video video", timeout=WAIT_MS)
    save_screenshot(page, "convert")
    address = page.locator("#speech a[href*='speech.wav']").first.get_attribute("href")
    path = tmp_path / "speech.wav"
    path.write_bytes(page.request.get(address).body())
    wav = read_wav(path)
    assert 6.5 < len(wav) / SAMPLE_RATE < 13
    assert count_correct_words(wav, clip_text) >= 4
    assert all(request["audio"] is False for request in page.evaluate("navigator.mediaDevices.requested"))
    results = {"speech.wav", "speech.mp4", "spectrogram.png", "voice.wav"}
    assert {p.name for p in served.files()} <= results


def test_a_voice_is_enrolled_previewed_and_deleted(
    visit: Callable[..., Any], served: ServedDemo, tmp_path: Path
) -> None:
    page = visit()
    open_tab(page, 2)
    recording = tmp_path / "old.wav"
    write_wav(recording, pulsed_buzz(8.0))
    page.locator("#recordings input[type=file]").set_input_files(str(recording))
    page.locator("#voice-name textarea, #voice-name input").first.fill("ann")
    page.locator("#recordings :text('old')").first.wait_for(timeout=WAIT_MS)
    page.locator("#enroll").click()
    page.locator(".toast-body").first.wait_for(timeout=WAIT_MS)
    assert "consent" in page.locator(".toast-body").first.inner_text()
    assert not list(served.voices.rglob("*.json"))
    page.locator("#consent textarea").fill("I am Ann and agree that this computer speaks in my voice.")
    page.locator("#enroll").click()
    page.locator("#voice-status :text('enrolled')").wait_for(timeout=WAIT_MS)
    assert not [p for p in served.files() if p.name == "old.wav"]
    (stored,) = served.voices.rglob("*.json")
    assert json.loads(stored.read_text())["consent"].startswith("I am Ann")
    page.locator("#listen").click()
    page.wait_for_selector("#voice-preview a[href]", timeout=WAIT_MS)
    save_screenshot(page, "voice")
    page.locator("#delete").click()
    page.locator("#voice-status :text('deleted')").wait_for(timeout=WAIT_MS)
    assert not list(served.voices.rglob("*.json"))


def test_japanese_labels_fit_a_phone(visit: Callable[..., Any]) -> None:
    page = visit(locale="ja-JP", width=390, height=844)
    assert page.locator("#live-start").inner_text() == "開始"
    assert page.get_by_role("tab").nth(1).inner_text() == "動画を変換"
    for index in range(3):
        open_tab(page, index)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    save_screenshot(page, "phone")
    open_tab(page, 1)
    page.locator("#convert-button").click()
    page.locator(".toast-body").first.wait_for(timeout=WAIT_MS)
    assert "先に動画ファイルを選ぶか" in page.locator(".toast-body").first.inner_text()


def test_the_page_can_be_used_by_keyboard(visit: Callable[..., Any]) -> None:
    page = visit()
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "live-start":
            break
    assert page.evaluate("document.activeElement.id") == "live-start"
    page.keyboard.press("Enter")
    page.wait_for_function("lip2speechLive.stats.sent > 5", timeout=WAIT_MS)


def test_an_example_is_converted_in_two_clicks(visit: Callable[..., Any]) -> None:
    page = visit()
    open_tab(page, 1)
    page.locator("#examples button, #examples td, .gallery-item").first.click()
    page.locator("#video video[src]").first.wait_for(timeout=WAIT_MS)
    page.locator("#convert-button").click()
    page.wait_for_selector("#confidence-bars .bars span", timeout=WAIT_MS)
    assert page.locator("#confidence-bars .bars span").count() == 3
    save_screenshot(page, "example")


def test_a_failed_conversion_clears_the_previous_result(visit: Callable[..., Any]) -> None:
    page = visit()
    open_tab(page, 1)
    page.locator("#examples button, #examples td, .gallery-item").first.click()
    page.locator("#video video[src]").first.wait_for(timeout=WAIT_MS)
    page.locator("#convert-button").click()
    page.wait_for_selector("#confidence-bars .bars span", timeout=WAIT_MS)
    page.wait_for_function("!document.querySelector('#video video[src]')", timeout=WAIT_MS)
    page.locator("#convert-button").click()
    page.locator(".toast-body").first.wait_for(timeout=WAIT_MS)
    page.wait_for_function("!document.querySelector('#confidence-bars .bars')", timeout=WAIT_MS)
