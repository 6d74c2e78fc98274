"""What the tabs do, without a page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lip2speech import Lip2Speech
from lip2speech.audio.io import write_wav
from lip2speech.web import handlers as work
from lip2speech.web.storage import TempFileStore


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIP2SPEECH_VOICES", str(tmp_path / "voices"))


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A buzz that comes and goes."""
    time_s = torch.arange(8 * 16000) / 16000
    buzz = sum(torch.sin(2 * torch.pi * 140 * k * time_s) / k for k in range(1, 20))
    path = tmp_path / "old.wav"
    write_wav(path, 0.1 * buzz * (torch.sin(2 * torch.pi * 1.5 * time_s) > -0.3))
    return path


CONSENT = "I am Ann and agree to this."


def test_people_who_log_in_have_voices_of_their_own(recording: Path) -> None:
    work.make_voice("ann", "mine", [recording], CONSENT, work.Limits())
    assert work.names_of("ann") == ["mine"] and work.names_of("bob") == [] and work.names_of(None) == []
    assert work.facts_of("ann", "mine")["consent"] == CONSENT
    with pytest.raises(work.UserError):
        work.facts_of("bob", "mine")
    with pytest.raises(work.UserError):
        work.remove_voice("bob", "mine")
    work.remove_voice("ann", "mine")
    assert work.names_of("ann") == []


@pytest.mark.parametrize(
    ("name", "consent", "why"),
    [("mine", "", "consent"), ("../mine", CONSENT, "small letters"), ("", CONSENT, "small letters")],
)
def test_a_voice_is_refused_in_one_sentence(recording: Path, name: str, consent: str, why: str) -> None:
    with pytest.raises(work.UserError) as refused:
        work.make_voice(None, name, [recording], consent, work.Limits())
    assert refused.value.key == "refused" and why in str(refused.value.values["why"])


def test_a_long_recording_is_refused(recording: Path) -> None:
    with pytest.raises(work.UserError) as refused:
        work.make_voice(None, "mine", [recording], CONSENT, work.Limits(recording_s=5.0))
    assert refused.value.key == "too_long" and refused.value.values["seconds"] == pytest.approx(8.0, abs=0.05)


def test_a_file_without_a_face_is_refused_and_leaves_no_path(tmp_path: Path, recording: Path) -> None:
    from tests.video.clips import write_video

    rooms, video = TempFileStore(), tmp_path / "empty.mp4"
    write_video(video, [np.full((120, 160, 3), 90, np.uint8)] * 30)
    speech = Lip2Speech.from_pretrained()
    with pytest.raises(work.UserError) as refused:
        work.speak(speech, video, voice=None, unsure="keep", limits=work.Limits(), rooms=rooms)
    assert refused.value.key == "unseen"
    with pytest.raises(work.UserError) as refused:
        work.speak(speech, recording, voice=None, unsure="keep", limits=work.Limits(), rooms=rooms)
    assert refused.value.key == "not_read" and "/" not in str(refused.value.values["why"])
    rooms.close()


def test_a_loud_tone_is_bright_in_its_band() -> None:
    wav = 0.5 * torch.sin(2 * torch.pi * 1000 * torch.arange(16000) / 16000)
    picture = work.spectrogram(wav)
    assert picture.shape == (320, 400, 3) and picture.dtype == np.uint8
    rows = picture.astype(int).sum((1, 2))
    assert 0.5 < rows.argmax() / len(rows) < 0.75  # 1 kHz is band 27 of 80, counted from below
