"""Atomic file writing."""

import os
from pathlib import Path

import pytest

from lip2speech.utils.files import atomic_write


def test_the_file_appears_only_after_the_block(tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    with atomic_write(out) as temporary:
        temporary.write_text("done")
        assert temporary.suffix == ".txt"
        assert not out.exists()
    assert out.read_text() == "done"
    assert list(tmp_path.iterdir()) == [out]


def test_an_existing_file_survives_an_exception(tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    out.write_text("old")
    with pytest.raises(FileNotFoundError), atomic_write(out):
        (tmp_path / "missing").read_text()
    assert out.read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "out.txt") as temporary:
            temporary.write_text("done")
    finally:
        os.umask(before)
    assert (tmp_path / "out.txt").stat().st_mode & 0o777 == 0o640
