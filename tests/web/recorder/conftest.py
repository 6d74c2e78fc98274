"""A folder of three prompts, and a session whose videos are judged by their first word."""

from __future__ import annotations

from pathlib import Path

import pytest

from lip2speech.data.prompts import write_prompts
from lip2speech.video import MediaError, NoFaceError
from lip2speech.web.recorder import RecordingSession

WEBM = b"\x1a\x45\xdf\xa3"
MP4 = b"\x00\x00\x00\x18ftypmp42"
LONGEST_S = 20.0


def judge(video: Path) -> None:
    """Stands for `read_take`: what is wrong with a video is written in it."""
    content = video.read_bytes()
    assert video.with_suffix(".txt").read_text().strip() and video.parent.name.startswith(".arriving-")
    if b"dark" in content:
        raise NoFaceError(f"{video.name}: no face.")
    if b"torn" in content:
        raise MediaError(f"{video.name}: torn.")
    if b"long" in content:
        raise ValueError(f"{video}: 21 s.")
    if b"full" in content:
        raise OSError(28, "No space left on device")


@pytest.fixture
def me(tmp_path: Path) -> Path:
    write_prompts(tmp_path / "me", ["Bin blue", "set red", "lay white"])
    return tmp_path / "me"


@pytest.fixture
def session(me: Path) -> RecordingSession:
    return RecordingSession(me, judge, LONGEST_S)


def videos(folder: Path) -> dict[str, bytes]:
    """What lies in the folder beside the prompts."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".txt"}
