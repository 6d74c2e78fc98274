"""Prepared clips as rows and tensors (lip2speech/data/dataset.py)."""

import json
from pathlib import Path

import pytest
import torch

from lip2speech.data.dataset import MIN_FRAMES, group_by_speaker, pad_stack, read_clips
from tests.factories import prepare


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return prepare(tmp_path / "clips", splits="train valid train test")


def ids(folder: Path, split: str, **options: int) -> list[str]:
    return [clip.id for clip in read_clips([folder], split, **options)]


def append(folder: Path, **row: object) -> None:
    with (folder / "index.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


def test_clips_of_a_split_are_in_index_order(folder: Path) -> None:
    assert ids(folder, "train") == ["clip0", "clip2"]
    assert ids(folder, "valid|test") == ["clip1", "clip3"]


def test_a_clip_has_crops_and_audio(folder: Path) -> None:
    clip = read_clips([folder], "valid")[0]
    assert clip.n_frames == 15
    assert clip.tensors()["roi"].shape == (15, 96, 96)
    wav = clip.wav()
    assert (wav.shape, wav.dtype) == ((15 * 640,), torch.float32)
    assert 0.1 < wav.abs().max() < 1


def test_the_latest_row_of_a_clip_counts(folder: Path) -> None:
    append(folder, id="clip0", split="train", speaker="ann", text="", status="failed", n_frames=0)
    append(folder, id="clip2", split="valid", speaker="ann", text="", status="done", n_frames=16)
    assert ids(folder, "train|valid") == ["clip1", "clip2"]


def test_a_truncated_line_is_skipped(folder: Path) -> None:
    with (folder / "index.jsonl").open("a") as file:
        file.write('{"id": "clip9", "split": "tr')
    assert ids(folder, "train") == ["clip0", "clip2"]


def test_clips_too_short_for_a_speaker_embedding_are_skipped(folder: Path) -> None:
    append(folder, id="short", split="train", speaker="ann", text="", status="done", n_frames=MIN_FRAMES - 1)
    assert ids(folder, "train") == ["clip0", "clip2"]
    assert ids(folder, "train", min_frames=15) == ["clip2"]


def test_several_folders_are_concatenated(folder: Path, tmp_path: Path) -> None:
    other = prepare(tmp_path / "other", splits="train")
    clips = read_clips([folder, other], "train")
    assert [clip.folder for clip in clips] == [folder, folder, other]
    groups = group_by_speaker(clips)
    assert groups == {(folder, "ann"): [0, 1], (other, "ann"): [2]}


def test_a_missing_split_is_an_error(folder: Path) -> None:
    with pytest.raises(ValueError, match="no clip of split 'unseen' in .*clips"):
        read_clips([folder], "unseen")
    with pytest.raises(ValueError, match="in no folder"):
        read_clips([], "train")


def test_a_folder_without_an_index_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no index.jsonl\); run python -m preprocess first"):
        read_clips([tmp_path], "train")


def test_rows_are_padded_at_the_end() -> None:
    rows = pad_stack([torch.ones(2, 1), torch.ones(2, 3)], 4, -1.0)
    assert rows.tolist() == [[[1, -1, -1, -1]] * 2, [[1, 1, 1, -1]] * 2]
