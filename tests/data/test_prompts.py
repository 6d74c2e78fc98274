"""A folder of prompts and their videos (lip2speech/data/prompts.py)."""

from pathlib import Path

import pytest

from lip2speech.data.prompts import list_videos, read_prompts, write_prompts


def test_written_prompts_are_read_in_order(tmp_path: Path) -> None:
    paths = write_prompts(tmp_path / "me", ["Bin  blue", "", "three"])
    assert [path.name for path in paths] == ["001.txt", "002.txt", "003.txt"]
    assert read_prompts(tmp_path / "me") == {"001": "Bin blue", "003": "three"}


def test_only_videos_with_a_prompt_are_listed(tmp_path: Path) -> None:
    write_prompts(tmp_path, ["one", "two"])
    for name in ("002.MOV", "001.webm", "001.wav", "001.json", "stray.mp4", ".001.mp4"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "001.folder").mkdir()
    assert [path.name for path in list_videos(tmp_path)] == ["001.webm", "002.MOV"]


def test_a_folder_without_a_prompt_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".hidden.txt").write_text("x")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(
        ValueError, match="no prompt 001.txt in it; write some with `lip2speech adapt prompts`"
    ):
        read_prompts(tmp_path)
    with pytest.raises(ValueError, match="no such folder"):
        read_prompts(tmp_path / "none")


def test_a_prompt_that_is_not_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "001.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ValueError, match="001.txt: is not UTF-8 text"):
        read_prompts(tmp_path)
