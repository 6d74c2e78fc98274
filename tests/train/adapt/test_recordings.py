"""Recordings of silent prompts (lip2speech/train/adapt/recordings.py)."""

from pathlib import Path

import pytest
import torch

from lip2speech.data.prompts import write_prompts
from lip2speech.train.adapt.recordings import Recording, read_recordings, split_recordings
from tests.train.adapt.test_trainer import recording


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four prompts, the second one empty; three videos of prompts and one without a prompt."""
    me = tmp_path / "me"
    write_prompts(me, ["Bin  blue", "", "three", "four"])
    for name in ("001.mp4", "002.mp4", "003.webm", "stray.mp4"):
        (me / name).write_bytes(b"no video")

    def load_roi(video: Path) -> tuple:
        rate = 0.5 if video.stem == "003" else 1.0
        return recording(0).roi.numpy(), type("Report", (), {"face_detection_rate": rate})

    monkeypatch.setattr("lip2speech.video.load_roi", load_roi)
    return me


def test_videos_are_paired_with_their_normalized_prompts(folder: Path) -> None:
    recordings, _ = read_recordings(folder)
    assert [(r.id, r.text, r.wav) for r in recordings] == [("001", "bin blue", None)]


def test_unusable_videos_are_reported_one_line_each(folder: Path) -> None:
    _, failures = read_recordings(folder)
    assert len(failures) == 2
    assert "002.txt is empty" in failures[0]
    assert "a face in 50% of the frames, expected 80%" in failures[1]


def test_a_folder_without_videos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(ValueError, match="no video next to its prompt"):
        read_recordings(tmp_path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        read_recordings(tmp_path / "none")


def test_prompts_are_written_to_an_empty_folder_only(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(ValueError, match="is not empty; give a new folder"):
        write_prompts(tmp_path, ["a"])


def test_held_out_sentences_are_not_trained_on() -> None:
    recordings = [Recording(str(i), text, torch.zeros(1)) for i, text in enumerate(["a", "b", "c", "a", "d"])]
    train, test = split_recordings(recordings, 2)
    assert [r.id for r in train] == ["1", "2"]
    assert [r.text for r in test] == ["a", "d"]


def test_holding_out_every_recording_is_refused() -> None:
    recordings = [Recording(str(i), "a", torch.zeros(1)) for i in range(5)]
    with pytest.raises(ValueError, match="cannot hold out 5 of 5 videos"):
        split_recordings(recordings, 5)
