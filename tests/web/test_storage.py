"""Nobody's file outlives its use, and nothing outside the folder is touched."""

from pathlib import Path

import pytest

from lip2speech.web.storage import TempFileStore


@pytest.fixture
def rooms() -> TempFileStore:
    return TempFileStore()


def test_rooms_have_names_that_nobody_guesses(rooms: TempFileStore) -> None:
    first, second = rooms.new(), rooms.new()
    assert first != second and len(first.name) == 32 and first.stat().st_mode & 0o077 == 0
    rooms.close()
    assert not rooms.root.exists()


def test_deleting_a_file_deletes_its_room_alone(rooms: TempFileStore) -> None:
    gone, kept = rooms.new(), rooms.new()
    (gone / "a.wav").write_bytes(b"1")
    (gone / "a.mp4").write_bytes(b"2")
    (kept / "b.wav").write_bytes(b"3")
    rooms.delete(gone / "a.wav")
    assert not gone.exists() and (kept / "b.wav").exists()
    rooms.close()


def test_a_path_outside_is_left_alone(rooms: TempFileStore, tmp_path: Path) -> None:
    other = tmp_path / "mine.wav"
    other.write_bytes(b"1")
    for path in (other, rooms.root / ".." / tmp_path.name / "mine.wav", None):
        rooms.delete(path)
    assert other.exists() and rooms.root.exists()
    rooms.close()


def test_what_is_forgotten_is_swept(rooms: TempFileStore) -> None:
    rooms.keep_s = 0.0
    old = rooms.new()
    rooms.keep_s = 60.0
    new = rooms.new()
    rooms.sweep()
    assert not old.exists() and new.exists()
    rooms.close()


def test_equal_uploads_become_two_files(rooms: TempFileStore) -> None:
    upload = rooms.root / "sum-of-its-content" / "talk.mp4"
    upload.parent.mkdir()
    upload.write_bytes(b"video")
    first, second = rooms.adopt(upload), rooms.adopt(upload)
    rooms.delete(first)
    assert second.read_bytes() == b"video" and second.name == "talk.mp4"
    rooms.close()
