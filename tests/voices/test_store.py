"""Stored voices (lip2speech/voices/store.py)."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from lip2speech.voices.store import (
    EnrolledVoice,
    checksum,
    delete_voice,
    list_voices,
    load_voice,
    save_voice,
    voices_dir,
)

ANN = EnrolledVoice(
    name="ann",
    embeddings={"ltas": (0.5, -1.25, 3.0)},
    seconds=20.0,
    snr_db=None,
    clipping_ratio=0.0,
    pitch_hz=(120.0, 150.5, 180.0),
    consent="I am Ann Lee and agree.",
    date="2026-01-01T00:00:00+00:00",
    source_sha256="0" * 64,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that holds one voice."""
    (tmp_path / "voices").mkdir(mode=0o700)
    save_voice(ANN, tmp_path / "voices" / "ann.json")
    return tmp_path / "voices"


def test_a_voice_is_loaded_as_it_was_saved(folder: Path) -> None:
    assert load_voice("ann", folder) == ANN
    assert list_voices(folder) == ["ann"]


def test_only_its_owner_may_read_a_voice(folder: Path) -> None:
    assert stat.S_IMODE((folder / "ann.json").stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == ["ann.json"]


def test_a_deleted_voice_is_overwritten_and_gone(folder: Path) -> None:
    (folder / "twin").hardlink_to(folder / "ann.json")  # a second name shows what became of the bytes
    assert delete_voice("ann", folder) == folder
    assert list_voices(folder) == []
    assert not (folder / "ann.json").exists()
    assert set((folder / "twin").read_bytes()) == {0}
    with pytest.raises(ValueError, match="no voice 'ann' is enrolled; enrolled voices: none yet"):
        delete_voice("ann", folder)


def signed(**changes: Any) -> str:
    """The file of a voice with other values and a matching checksum."""
    values = {"format": 1, **ANN.__dict__, **changes}
    values = {key: value for key, value in values.items() if value is not ...}
    return json.dumps(values | {"sha256": checksum(values)})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (signed().replace("Ann Lee", "Bob Lee"), "its checksum differs"),
        ("{}", "sha256"),
        ("[1]", ""),
        ("{", ""),
        ("[" * 200_000, "recursion"),
        (signed(name="bob"), "it is of 'bob'"),
        (signed(format=2), "its format is unknown"),
        (signed(embeddings={"ltas": ["x"]}), "expected float, got 'x'"),
        (signed(embeddings={"ltas": [1e300]}), "its embedding has huge numbers"),
        (signed(embeddings={"ltas": [float("nan")]}), "it holds NaN"),
        (signed(clipping_ratio=None), "clipping_ratio: expected float"),
        (signed(seconds="20"), "seconds: expected float"),
        (signed(consent=...), "needs a value for consent"),
        (signed(extra=1), "unknown key 'extra'"),
    ],
)
def test_a_modified_or_damaged_file_is_refused(folder: Path, text: str, reason: str) -> None:
    (folder / "ann.json").write_text(text)
    with pytest.raises(ValueError, match=f"ann.json: not a voice, or damaged .*{reason}.*; enroll it again"):
        load_voice("ann", folder)


def test_the_folder_of_voices_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LIP2SPEECH_VOICES", str(tmp_path / "mine"))
    assert voices_dir() == tmp_path / "mine"
    monkeypatch.delenv("LIP2SPEECH_VOICES")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert voices_dir() == tmp_path / "lip2speech" / "voices"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert voices_dir() == Path.home() / ".local" / "share" / "lip2speech" / "voices"
