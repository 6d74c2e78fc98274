"""Enrolled voices (lip2speech/voices/store.py)."""

import json
import stat
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lip2speech.audio.io import write_wav
from lip2speech.models.speaker_encoder import LTASSpeakerEncoder
from lip2speech.voices.store import (
    checksum,
    delete_voice,
    enroll,
    list_voices,
    load_voice,
    split_speech,
    voices_folder,
)
from tests.factories import buzz, tiny_encoded

CONSENT = "I am Ann Lee and agree that this computer speaks in my voice."


def noise(seconds: float, level: float) -> Tensor:
    return level * torch.randn(round(16_000 * seconds), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A pause, 20 s of voice, a pause."""
    wav = torch.cat([torch.zeros(16_000), buzz(500, 150.0), torch.zeros(16_000)])
    write_wav(tmp_path / "ann.wav", wav + noise(22, 1e-4))
    return tmp_path / "ann.wav"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "voices"


def test_a_voice_comes_back_as_it_was_enrolled(recording: Path, folder: Path) -> None:
    made = enroll("ann", [recording], CONSENT, folder=folder)
    assert load_voice("ann", folder) == made
    assert list_voices(folder) == ["ann"]
    assert made.consent == CONSENT and made.date.endswith("+00:00") and len(made.source) == 64
    assert made.seconds == pytest.approx(20, abs=0.5) and made.warnings == []
    assert made.pitch_hz[1] == pytest.approx(150, rel=0.03)
    torch.testing.assert_close(
        made.vector(LTASSpeakerEncoder()),
        LTASSpeakerEncoder().embed(buzz(500, 150.0) + noise(20, 1e-4)),
        rtol=0,
        atol=0.05,
    )


def test_only_its_owner_may_read_it_and_no_sound_is_kept(recording: Path, folder: Path) -> None:
    enroll("ann", [recording], CONSENT, folder=folder)
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert file.stat().st_size < 8_000


@pytest.mark.parametrize("consent", ["", "   ", "yes"])
def test_without_consent_there_is_no_voice(recording: Path, folder: Path, consent: str) -> None:
    with pytest.raises(ValueError, match="only with the consent of its owner"):
        enroll("ann", [recording], consent, folder=folder)
    assert not folder.exists()


def test_a_deleted_voice_is_overwritten_and_gone(recording: Path, folder: Path) -> None:
    enroll("ann", [recording], CONSENT, folder=folder)
    (folder / "twin").hardlink_to(folder / "ann.json")  # a second name shows what became of the bytes
    assert delete_voice("ann", folder) == folder
    assert list_voices(folder) == [] and not (folder / "ann.json").exists()
    assert set((folder / "twin").read_bytes()) == {0}
    with pytest.raises(ValueError, match="no voice 'ann' is enrolled; there are: none yet"):
        delete_voice("ann", folder)


def test_a_voice_is_not_replaced_unasked(recording: Path, folder: Path) -> None:
    before = enroll("ann", [recording], CONSENT, folder=folder)
    with pytest.raises(ValueError, match="exists already"):
        enroll("ann", [recording], CONSENT + " Now too.", folder=folder)
    assert load_voice("ann", folder) == before
    after = enroll("ann", [recording], CONSENT + " Now too.", folder=folder, overwrite=True)
    assert load_voice("ann", folder) == after != before


def test_several_recordings_make_one_voice(recording: Path, folder: Path, tmp_path: Path) -> None:
    write_wav(tmp_path / "more.wav", buzz(250, 170.0))
    both = enroll("ann", [recording, tmp_path / "more.wav"], CONSENT, folder=folder)
    assert both.seconds == pytest.approx(30, abs=0.5)


def test_quality_is_told(tmp_path: Path, folder: Path) -> None:
    wav = torch.cat([torch.zeros(16_000), buzz(150, 150.0)])
    write_wav(tmp_path / "bad.wav", (8 * wav).clamp(-1, 1) + noise(7, 0.15))
    told = " ".join(enroll("bad", [tmp_path / "bad.wav"], CONSENT, folder=folder).warnings)
    assert "s of speech" in told and "above the noise" in told and "clipped" in told
    write_wav(tmp_path / "hiss.wav", noise(20, 0.1))
    assert any(
        "no pitch" in w for w in enroll("hiss", [tmp_path / "hiss.wav"], CONSENT, folder=folder).warnings
    )


@pytest.mark.parametrize(
    ("wav", "message"), [(buzz(50, 150.0), "2.0 s of speech were found"), (torch.zeros(80_000), "voice")]
)
def test_what_is_no_voice_is_refused(tmp_path: Path, folder: Path, wav: Tensor, message: str) -> None:
    write_wav(tmp_path / "a.wav", wav)
    with pytest.raises(ValueError, match=message):
        enroll("a", [tmp_path / "a.wav"], CONSENT, folder=folder)
    assert list_voices(folder) == []


def test_a_voice_is_kept_for_every_speaker_model_it_was_enrolled_for(recording: Path, folder: Path) -> None:
    mine, other = tiny_encoded(0), tiny_encoded(1)
    enroll("ann", [recording], CONSENT, speakers=[mine], folder=folder)
    voice = load_voice("ann", folder)
    assert voice.vector(mine).shape == (mine.dim,)
    assert voice.vector(LTASSpeakerEncoder()).shape == (163,)
    with pytest.raises(ValueError, match="'ann' was not enrolled for this model's speaker encoder; enrol it"):
        voice.vector(other)


def test_a_file_of_the_first_format_has_one_vector(recording: Path, folder: Path) -> None:
    made = enroll("ann", [recording], CONSENT, folder=folder)
    values = json.loads((folder / "ann.json").read_text()) | {"format": 1}
    del values["sha256"]
    values["vector"] = values.pop("vectors")["spectrum"]
    (folder / "ann.json").write_text(json.dumps(values | {"sha256": checksum(values)}))
    assert load_voice("ann", folder) == made


@pytest.mark.parametrize("name", ["", "Ann", "../ann", "a/b", "a" * 41, "-a", "a.b"])
def test_a_name_must_be_a_files(recording: Path, folder: Path, name: str) -> None:
    with pytest.raises(ValueError, match="a voice's name"):
        enroll(name, [recording], CONSENT, folder=folder)


def test_a_changed_file_is_refused(recording: Path, folder: Path) -> None:
    enroll("ann", [recording], CONSENT, folder=folder)
    path = folder / "ann.json"
    whole = json.loads(path.read_text())
    signed = {k: v for k, v in whole.items() if k != "sha256"}
    others = [
        signed | {"consent": "somebody else agreed"},
        {},
        [1],
        signed | {"vectors": {"spectrum": ["x"]}},
    ]
    texts = [
        json.dumps(whole | others[0]),
        "{}",
        "[1]",
        "{",
        json.dumps(others[3] | {"sha256": checksum(others[3])}),
    ]
    for text in texts:
        path.write_text(text)
        with pytest.raises(ValueError, match="is no voice, or damaged"):
            load_voice("ann", folder)


def test_speech_is_found_between_pauses() -> None:
    wav = torch.cat([torch.zeros(16_000), buzz(50, 150.0), torch.zeros(16_000), buzz(25, 150.0)]) + noise(
        5, 1e-3
    )
    speech, rest = split_speech(wav)
    assert len(speech) + len(rest) == len(wav)
    assert len(speech) / 16_000 == pytest.approx(3.0, abs=0.5)
    assert float(rest.abs().max()) < 0.02
    assert [len(x) for x in split_speech(torch.ones(10))] == [10, 0]


def test_voices_lie_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIP2SPEECH_VOICES", str(tmp_path / "mine"))
    assert voices_folder() == tmp_path / "mine"
    monkeypatch.delenv("LIP2SPEECH_VOICES")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert voices_folder() == tmp_path / "lip2speech" / "voices"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert voices_folder() == Path.home() / ".local" / "share" / "lip2speech" / "voices"
