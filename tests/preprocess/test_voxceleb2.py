"""VoxCeleb2: a miniature of its layout."""

from pathlib import Path

import pytest

from preprocess.voxceleb2 import utterances
from tests.preprocess.trees import voxceleb2


def test_clips_speakers_splits_and_audio_files_are_found(tmp_path: Path) -> None:
    root = voxceleb2(tmp_path / "vox", Path(__file__))
    found = list(utterances(root))
    assert [(u.id, u.speaker, u.split, u.text) for u in found] == [
        ("dev/mp4/id00012/abc/00001", "id00012", "train", ""),
        ("dev/mp4/id00012/abc/00002", "id00012", "train", ""),
        ("test/mp4/id00017/xyz/00003", "id00017", "test", ""),
    ]
    assert [u.wav for u in found] == [None, None, root / "test/aac/id00017/xyz/00003.m4a"]


def test_the_folder_of_one_set_keeps_its_split(tmp_path: Path) -> None:
    root = voxceleb2(tmp_path / "vox", Path(__file__))
    assert [u.split for u in utterances(root / "test")] == ["test"]


def test_speakers_directly_in_the_root_are_found(tmp_path: Path) -> None:
    for name in ("id00012/abc/1.mp4", "id00012/abc/1.wav", "ida/abc/1.mp4", "id00013/1.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (found,) = utterances(tmp_path)
    assert (found.id, found.wav) == ("id00012/abc/1", tmp_path / "id00012/abc/1.wav")


def test_a_folder_without_clips_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no VoxCeleb2 here; expected files such as dev/mp4/id00012"):
        list(utterances(tmp_path / "none"))
