"""How recordings are stored in a folder of prompts (lip2speech/web/recorder/session.py)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lip2speech.web.recorder import RecordingSession, RejectedUploadError
from tests.web.recorder.conftest import MAX_DURATION_S, MP4, WEBM, validate, videos


def test_a_video_is_stored_next_to_its_prompt_with_mode_0600(session: RecordingSession, folder: Path) -> None:
    session.store("001", [WEBM + b"one", b" more"])
    session.store("002", [MP4])
    assert videos(folder) == {"001.webm": WEBM + b"one more", "002.mp4": MP4}
    assert {(folder / name).stat().st_mode & 0o777 for name in videos(folder)} == {0o600}
    assert session.count() == (2, 3)


def test_a_new_video_replaces_earlier_ones_of_any_format(session: RecordingSession, folder: Path) -> None:
    (folder / "001.mov").write_bytes(b"from a phone")
    (folder / "001.wav").write_bytes(b"audio is not a video")
    session.store("001", [MP4])
    session.store("001", [WEBM + b"new"])
    assert videos(folder) == {"001.webm": WEBM + b"new", "001.wav": b"audio is not a video"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (WEBM + b"dark", "no_face"),
        (WEBM + b"torn", "unreadable"),
        (WEBM + b"long", "unusable"),
        (b"<html>", "not_video"),
        (b"", "not_video"),
        (b"YUV4MPEG2 is a video, but no browser records it", "not_video"),
    ],
)
def test_an_unusable_video_is_rejected_and_changes_nothing(
    session: RecordingSession, folder: Path, content: bytes, reason: str
) -> None:
    session.store("001", [WEBM + b"first"])
    with pytest.raises(RejectedUploadError) as rejected:
        session.store("001", [content] if content else [])
    assert rejected.value.reason == reason
    assert str(folder) not in rejected.value.detail
    assert videos(folder) == {"001.webm": WEBM + b"first"}


def test_an_interrupted_upload_changes_nothing(session: RecordingSession, folder: Path) -> None:
    def interrupted() -> Iterator[bytes]:
        yield WEBM
        raise RejectedUploadError("incomplete")

    session.store("001", [MP4 + b"first"])
    with pytest.raises(RejectedUploadError, match="incomplete"):
        session.store("001", interrupted())
    with pytest.raises(OSError, match="No space left"):
        session.store("001", [WEBM + b"full"])
    assert videos(folder) == {"001.mp4": MP4 + b"first"}


@pytest.mark.parametrize("name", ["004", "", "../001", "001.webm", "001.txt", "."])
def test_only_prompts_of_the_folder_can_be_recorded(
    session: RecordingSession, folder: Path, name: str
) -> None:
    with pytest.raises(RejectedUploadError, match="no such prompt"):
        session.store(name, [WEBM])
    assert not videos(folder)


def test_simultaneous_uploads_of_one_prompt_leave_one_video(session: RecordingSession, folder: Path) -> None:
    contents = [WEBM + b"a" * 100_000, MP4 + b"b" * 100_000] * 4
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: session.store("002", [content]), contents))
    (content,) = videos(folder).values()
    assert content in contents


def test_the_state_follows_the_files_and_names_the_next_command(
    session: RecordingSession, folder: Path
) -> None:
    session.store("002", [WEBM])
    state = session.state()
    assert [(p["name"], p["text"], p["recorded"]) for p in state["prompts"]] == [
        ("001", "Bin blue", False), ("002", "set red", True), ("003", "lay white", False),
    ]  # fmt: skip
    assert state["next_command"] == f"lip2speech adapt train {folder} -o MODEL"
    assert state["max_duration_s"] == MAX_DURATION_S
    (folder / "002.webm").unlink()
    assert session.count() == (0, 3)


def test_leftovers_of_a_killed_process_are_deleted(folder: Path) -> None:
    for name, age in ((".uploading-old", 7200), (".uploading-new", 0)):
        (folder / name).mkdir()
        (folder / name / "001.webm").write_bytes(WEBM)
        os.utime(folder / name, (time.time() - age,) * 2)
    RecordingSession(folder, validate, MAX_DURATION_S)
    assert not (folder / ".uploading-old").exists()
    assert (folder / ".uploading-new").exists()


def test_a_read_only_folder_is_rejected(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.chmod(0o500)
    if os.access(folder, os.W_OK):  # root may write anywhere
        monkeypatch.setattr(os, "access", lambda path, mode: path != folder)
    with pytest.raises(ValueError, match="is not writable"):
        RecordingSession(folder, validate, MAX_DURATION_S)
