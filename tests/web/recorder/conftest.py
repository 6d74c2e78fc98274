"""A folder of three prompts, and a session whose validator decides by the content of the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from lip2speech.data.prompts import write_prompts
from lip2speech.video import MediaError, NoFaceError
from lip2speech.web.recorder import RecorderServer, RecordingSession

WEBM = b"\x1a\x45\xdf\xa3"
MP4 = b"\x00\x00\x00\x18ftypmp42"
MAX_DURATION_S = 20.0


def validate(video: Path) -> None:
    """Replaces the real validator: a word in the file says what is wrong with it."""
    content = video.read_bytes()
    assert video.with_suffix(".txt").read_text().strip()
    assert video.parent.name.startswith(".uploading-")
    if b"dark" in content:
        raise NoFaceError(f"{video.name}: no face.")
    if b"torn" in content:
        raise MediaError(f"{video.name}: torn.")
    if b"long" in content:
        raise ValueError(f"{video}: 21 s.")
    if b"full" in content:
        raise OSError(28, "No space left on device")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_prompts(tmp_path / "me", ["Bin blue", "set red", "lay white"])
    return tmp_path / "me"


@pytest.fixture
def session(folder: Path) -> RecordingSession:
    return RecordingSession(folder, validate, MAX_DURATION_S)


def videos(folder: Path) -> dict[str, bytes]:
    """Name -> content of what is in the folder beside the prompts."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".txt"}


@contextmanager
def serving(session: RecordingSession) -> Iterator[RecorderServer]:
    """A recorder that serves in a thread and stops at the end."""
    server = RecorderServer(session)
    thread = Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()
