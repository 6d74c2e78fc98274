"""Enrollment of voices (lip2speech/voices/enrollment.py)."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lip2speech.audio.io import write_wav
from lip2speech.models.speaker_encoder import LTASSpeakerEncoder
from lip2speech.voices.enrollment import energy_vad, enroll_voice
from lip2speech.voices.store import list_voices, load_voice
from tests.factories import synthetic_voice, tiny_speaker_encoder

CONSENT = "I am Ann Lee and agree that this computer speaks in my voice."


def noise(seconds: float, level: float) -> Tensor:
    return level * torch.randn(round(16_000 * seconds), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A second of pause, 20 s of speech, a second of pause."""
    wav = torch.cat([torch.zeros(16_000), synthetic_voice(500, 150.0), torch.zeros(16_000)])
    write_wav(tmp_path / "ann.wav", wav + noise(22, 1e-4))
    return tmp_path / "ann.wav"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "voices"


def test_an_enrolled_voice_describes_its_recording(recording: Path, folder: Path) -> None:
    voice = enroll_voice("ann", [recording], CONSENT, folder=folder)
    assert voice.consent == CONSENT
    assert voice.date.endswith("+00:00")
    assert len(voice.source_sha256) == 64
    assert voice.seconds == pytest.approx(20, abs=0.5)
    assert voice.warnings == []
    assert voice.pitch_hz[1] == pytest.approx(150, rel=0.03)
    expected = LTASSpeakerEncoder().embed(synthetic_voice(500, 150.0) + noise(20, 1e-4))
    torch.testing.assert_close(voice.embedding(LTASSpeakerEncoder()), expected, rtol=0, atol=0.05)


@pytest.mark.parametrize("consent", ["", "   ", "yes"])
def test_without_consent_no_voice_is_enrolled(recording: Path, folder: Path, consent: str) -> None:
    with pytest.raises(ValueError, match="only with the consent of its owner"):
        enroll_voice("ann", [recording], consent, folder=folder)
    assert not folder.exists()


def test_a_voice_is_replaced_only_with_overwrite(recording: Path, folder: Path) -> None:
    before = enroll_voice("ann", [recording], CONSENT, folder=folder)
    with pytest.raises(ValueError, match="already exists"):
        enroll_voice("ann", [recording], CONSENT + " Now too.", folder=folder)
    assert load_voice("ann", folder) == before
    after = enroll_voice("ann", [recording], CONSENT + " Now too.", folder=folder, overwrite=True)
    assert load_voice("ann", folder) == after != before


def test_several_recordings_make_one_voice(recording: Path, folder: Path, tmp_path: Path) -> None:
    write_wav(tmp_path / "more.wav", synthetic_voice(250, 170.0))
    voice = enroll_voice("ann", [recording, tmp_path / "more.wav"], CONSENT, folder=folder)
    assert voice.seconds == pytest.approx(30, abs=0.5)


def test_a_short_noisy_clipped_recording_has_a_warning_for_each(tmp_path: Path, folder: Path) -> None:
    wav = torch.cat([torch.zeros(16_000), synthetic_voice(150, 150.0)])
    write_wav(tmp_path / "bad.wav", (8 * wav).clamp(-1, 1) + noise(7, 0.15))
    warnings = " ".join(enroll_voice("bad", [tmp_path / "bad.wav"], CONSENT, folder=folder).warnings)
    assert "s of speech" in warnings
    assert "above the noise" in warnings
    assert "clipped" in warnings


def test_an_unvoiced_recording_has_a_warning(tmp_path: Path, folder: Path) -> None:
    write_wav(tmp_path / "hiss.wav", noise(20, 0.1))
    voice = enroll_voice("hiss", [tmp_path / "hiss.wav"], CONSENT, folder=folder)
    assert voice.pitch_hz == ()
    assert any("no pitch" in warning for warning in voice.warnings)


@pytest.mark.parametrize(
    ("wav", "message"),
    [(synthetic_voice(50, 150.0), "a.wav: 2.0 s of speech were found"), (torch.zeros(80_000), "voice")],
)
def test_too_little_speech_is_refused(tmp_path: Path, folder: Path, wav: Tensor, message: str) -> None:
    write_wav(tmp_path / "a.wav", wav)
    with pytest.raises(ValueError, match=message):
        enroll_voice("a", [tmp_path / "a.wav"], CONSENT, folder=folder)
    assert list_voices(folder) == []


def test_a_voice_has_an_embedding_for_each_speaker_encoder(recording: Path, folder: Path) -> None:
    encoder, other = tiny_speaker_encoder(0), tiny_speaker_encoder(1)
    enroll_voice("ann", [recording], CONSENT, speaker_encoders=[encoder], folder=folder)
    voice = load_voice("ann", folder)
    assert voice.embedding(encoder).shape == (encoder.dim,)
    assert voice.embedding(LTASSpeakerEncoder()).shape == (163,)
    with pytest.raises(
        ValueError, match="'ann' was not enrolled for this model's speaker encoder; enroll it"
    ):
        voice.embedding(other)


@pytest.mark.parametrize("name", ["", "Ann", "../ann", "a/b", "a" * 41, "-a", "a.b"])
def test_an_invalid_name_is_refused(recording: Path, folder: Path, name: str) -> None:
    with pytest.raises(ValueError, match="a voice's name"):
        enroll_voice(name, [recording], CONSENT, folder=folder)


def test_energy_vad_separates_speech_from_pauses() -> None:
    silence = torch.zeros(16_000)
    wav = torch.cat([silence, synthetic_voice(50, 150.0), silence, synthetic_voice(25, 150.0)]) + noise(
        5, 1e-3
    )
    speech, rest = energy_vad(wav)
    assert len(speech) + len(rest) == len(wav)
    assert len(speech) / 16_000 == pytest.approx(3.0, abs=0.5)
    assert float(rest.abs().max()) < 0.02


def test_energy_vad_keeps_a_recording_shorter_than_one_frame() -> None:
    assert [len(x) for x in energy_vad(torch.ones(10))] == [10, 0]
