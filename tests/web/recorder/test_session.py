"""How videos come to lie in a folder of prompts (lip2speech/web/recorder/session.py)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lip2speech.web.recorder import RecordingSession, RejectedUpload
from tests.web.recorder.conftest import LONGEST_S, MP4, WEBM, judge, videos


def test_a_video_lies_beside_its_prompt_for_its_owner_alone(session: RecordingSession, me: Path) -> None:
    session.keep("001", [WEBM + b"one", b" more"])
    session.keep("002", [MP4])
    assert videos(me) == {"001.webm": WEBM + b"one more", "002.mp4": MP4}
    assert {(me / name).stat().st_mode & 0o777 for name in videos(me)} == {0o600}
    assert session.count() == (2, 3)


def test_a_better_video_takes_the_place_of_all_older_ones(session: RecordingSession, me: Path) -> None:
    (me / "001.mov").write_bytes(b"from a phone")
    (me / "001.wav").write_bytes(b"a sound is no video")
    session.keep("001", [MP4])
    session.keep("001", [WEBM + b"new"])
    assert videos(me) == {"001.webm": WEBM + b"new", "001.wav": b"a sound is no video"}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (WEBM + b"dark", "no_face"),
        (WEBM + b"torn", "unreadable"),
        (WEBM + b"long", "unfit"),
        (b"<html>", "not_video"),
        (b"", "not_video"),
        (b"YUV4MPEG2 a video, but no browser records it", "not_video"),
    ],
)
def test_a_useless_video_changes_nothing(
    session: RecordingSession, me: Path, content: bytes, why: str
) -> None:
    session.keep("001", [WEBM + b"dear"])
    with pytest.raises(RejectedUpload) as refused:
        session.keep("001", [content] if content else [])
    assert refused.value.why == why and str(me) not in refused.value.detail
    assert videos(me) == {"001.webm": WEBM + b"dear"}


def test_a_video_that_breaks_off_changes_nothing(session: RecordingSession, me: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield WEBM
        raise RejectedUpload("broken")

    session.keep("001", [MP4 + b"dear"])
    with pytest.raises(RejectedUpload, match="broken"):
        session.keep("001", broken())
    with pytest.raises(OSError, match="No space left"):
        session.keep("001", [WEBM + b"full"])
    assert videos(me) == {"001.mp4": MP4 + b"dear"}


@pytest.mark.parametrize("name", ["004", "", "../001", "001.webm", "001.txt", "."])
def test_only_prompts_of_the_folder_have_videos(session: RecordingSession, me: Path, name: str) -> None:
    with pytest.raises(RejectedUpload, match="no such prompt"):
        session.keep(name, [WEBM])
    assert not videos(me)


def test_videos_of_one_prompt_that_arrive_at_once_leave_one(session: RecordingSession, me: Path) -> None:
    both = [WEBM + b"a" * 100_000, MP4 + b"b" * 100_000] * 4
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: session.keep("002", [content]), both))
    (content,) = videos(me).values()
    assert content in both


def test_the_state_is_read_anew_and_names_what_comes_next(session: RecordingSession, me: Path) -> None:
    session.keep("002", [WEBM])
    state = session.state()
    assert [(p["name"], p["text"], p["taken"]) for p in state["prompts"]] == [
        ("001", "Bin blue", False), ("002", "set red", True), ("003", "lay white", False),
    ]  # fmt: skip
    assert state["next"] == f"lip2speech adapt train {me} -o MODEL" and state["longest_s"] == LONGEST_S
    (me / "002.webm").unlink()
    assert session.count() == (0, 3)


def test_what_a_killed_capture_left_is_swept(me: Path) -> None:
    for name, age in ((".arriving-old", 7200), (".arriving-new", 0)):
        (me / name).mkdir()
        (me / name / "001.webm").write_bytes(WEBM)
        os.utime(me / name, (time.time() - age,) * 2)
    RecordingSession(me, judge, LONGEST_S)
    assert not (me / ".arriving-old").exists() and (me / ".arriving-new").exists()


def test_a_folder_that_cannot_be_written_is_refused(me: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    me.chmod(0o500)
    if os.access(me, os.W_OK):  # the superuser may write anywhere, so the system's answer is made up
        monkeypatch.setattr(os, "access", lambda path, mode: path != me)
    with pytest.raises(ValueError, match="nothing can be written there"):
        RecordingSession(me, judge, LONGEST_S)
