"""Temporary files are deleted, and nothing outside the store is (lip2speech/web/storage.py)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lip2speech.web.storage import TempFileStore


@pytest.fixture
def storage() -> Iterator[TempFileStore]:
    store = TempFileStore()
    yield store
    store.close()


def test_directories_are_private_and_their_names_random(storage: TempFileStore) -> None:
    first, second = storage.create(), storage.create()
    assert first != second
    assert len(first.name) == 32
    assert first.stat().st_mode & 0o077 == 0


def test_closing_deletes_everything(storage: TempFileStore) -> None:
    (storage.create() / "a.wav").write_bytes(b"1")
    storage.close()
    assert not storage.root.exists()


def test_deleting_a_file_deletes_its_directory_only(storage: TempFileStore) -> None:
    deleted, kept = storage.create(), storage.create()
    (deleted / "a.wav").write_bytes(b"1")
    (deleted / "a.mp4").write_bytes(b"2")
    (kept / "b.wav").write_bytes(b"3")
    storage.delete(deleted / "a.wav")
    assert not deleted.exists()
    assert (kept / "b.wav").exists()


def test_paths_outside_the_store_are_ignored(storage: TempFileStore, tmp_path: Path) -> None:
    other = tmp_path / "mine.wav"
    other.write_bytes(b"1")
    for path in (other, storage.root / ".." / tmp_path.name / "mine.wav", storage.root, None):
        storage.delete(path)
    assert other.exists()
    assert storage.root.exists()


def test_the_store_contains_files_of_its_directories_only(storage: TempFileStore, tmp_path: Path) -> None:
    assert storage.create() / "a.wav" in storage
    assert tmp_path / "a.wav" not in storage
    assert storage.root / ".." / "a.wav" not in storage
    assert Path("") not in storage


def test_expired_directories_are_deleted(storage: TempFileStore) -> None:
    storage.retention_s = 0.0
    old = storage.create()
    storage.retention_s = 60.0
    new = storage.create()
    storage.delete_expired()
    assert not old.exists()
    assert new.exists()
