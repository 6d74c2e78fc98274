"""What the tabs do, without a page (lip2speech/web/handlers.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lip2speech.audio.io import write_wav
from lip2speech.pipeline import Lip2Speech
from lip2speech.web import handlers
from lip2speech.web.handlers import Limits, UserError
from lip2speech.web.storage import TempFileStore
from tests.web.signals import pulsed_buzz

CONSENT = "I am Ann and agree to this."


@pytest.fixture(autouse=True)
def _voices_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIP2SPEECH_VOICES", str(tmp_path / "voices"))


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "old.wav"
    write_wav(path, pulsed_buzz(8.0, f0=140))
    return path


def test_users_have_separate_voices(recording: Path) -> None:
    handlers.enroll_voice("ann", "mine", [recording], CONSENT, Limits())
    assert handlers.voice_names("ann") == ["mine"]
    assert handlers.voice_names("bob") == []
    assert handlers.voice_names(None) == []
    assert handlers.describe_voice("ann", "mine")["consent"] == CONSENT
    with pytest.raises(UserError):
        handlers.describe_voice("bob", "mine")
    with pytest.raises(UserError):
        handlers.remove_voice("bob", "mine")
    handlers.remove_voice("ann", "mine")
    assert handlers.voice_names("ann") == []


@pytest.mark.parametrize(
    ("name", "consent", "reason"),
    [("mine", "", "consent"), ("../mine", CONSENT, "mine"), ("", CONSENT, "name")],
)
def test_an_invalid_enrollment_is_rejected_with_its_reason(
    recording: Path, name: str, consent: str, reason: str
) -> None:
    with pytest.raises(UserError) as rejected:
        handlers.enroll_voice(None, name, [recording], consent, Limits())
    assert rejected.value.key == "rejected"
    assert reason in str(rejected.value.values["reason"])
    assert handlers.voice_names(None) == []


def test_a_recording_beyond_the_limit_is_rejected(recording: Path) -> None:
    with pytest.raises(UserError) as rejected:
        handlers.enroll_voice(None, "mine", [recording], CONSENT, Limits(max_recording_s=5.0))
    assert rejected.value.key == "recording_too_long"
    assert rejected.value.values["seconds"] == pytest.approx(8.0, abs=0.05)


def test_videos_without_a_face_and_other_files_are_rejected_without_a_path(
    tmp_path: Path, recording: Path
) -> None:
    from tests.video.clips import write_video

    storage, video = TempFileStore(), tmp_path / "empty.mp4"
    write_video(video, [np.full((120, 160, 3), 90, np.uint8)] * 30)
    model = Lip2Speech.from_pretrained()
    options = {"voice": None, "low_confidence": "keep", "limits": Limits(), "storage": storage}
    with pytest.raises(UserError) as rejected:
        handlers.convert_video(model, video, **options)
    assert rejected.value.key == "no_face"
    with pytest.raises(UserError) as rejected:
        handlers.convert_video(model, recording, **options)
    assert rejected.value.key == "unreadable_video"
    assert "/" not in str(rejected.value.values["reason"])
    storage.close()


def test_a_loud_tone_is_bright_in_its_mel_band() -> None:
    wav = 0.5 * torch.sin(2 * torch.pi * 1000 * torch.arange(16000) / 16000)
    image = handlers.spectrogram_image(wav)
    assert image.shape == (320, 400, 3)
    assert image.dtype == np.uint8
    brightness = image.astype(int).sum((1, 2))
    assert 0.5 < brightness.argmax() / len(brightness) < 0.75  # 1 kHz is band 27 of 80 from the bottom
