"""Atomic file writing."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lip2speech.utils.files import (
    MAX_UNOWNED_S,
    CheckedFile,
    atomic_write,
    move_into_place,
    owned_temporary_folder,
    remove_stale_folders,
)


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


def test_a_full_disk_is_reported_with_the_name_of_the_file(tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    with pytest.raises(OSError, match="No space left on device") as caught, atomic_write(out):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(out)
    assert not list(tmp_path.iterdir())


def test_a_checked_file_keeps_its_first_failed_write(tmp_path: Path) -> None:
    with CheckedFile(tmp_path / "a") as file:
        assert file.write(b"abc") == 3
        file.check()
    assert (tmp_path / "a").read_bytes() == b"abc"
    if Path("/dev/full").exists():
        with CheckedFile("/dev/full") as file:
            assert file.write(b"abc") == 0
            with pytest.raises(OSError, match="No space left on device"):
                file.check()


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appeared_meanwhile_is_kept(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    new, out = tmp_path / "new", tmp_path / "out"
    for text in ("first", "second"):
        new.write_text(text)
        if text == "first":
            move_into_place(new, out, overwrite=False)
            assert not new.exists()
    with pytest.raises(FileExistsError, match="was written by another process meanwhile"):
        move_into_place(new, out, overwrite=False)
    assert out.read_text() == "first"
    move_into_place(new, out, overwrite=True)
    assert out.read_text() == "second"


OWNER = """
import sys, time
from pathlib import Path
from lip2speech.utils.files import owned_temporary_folder
with owned_temporary_folder(Path(sys.argv[1])) as folder:
    (folder / "speech.wav").write_bytes(b"sound")
    print("ready", flush=True)
    time.sleep(60)
"""


def test_only_temporary_folders_of_ended_processes_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".lip2speech-file").write_bytes(b"kept")
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "ready\n"
        with owned_temporary_folder(tmp_path) as own:
            assert remove_stale_folders(tmp_path) == 0
            owner.kill()
            owner.wait()
            assert remove_stale_folders(tmp_path) == 1
            assert {path.name for path in tmp_path.iterdir()} == {own.name, ".lip2speech-file"}
    assert [path.name for path in tmp_path.iterdir()] == [".lip2speech-file"]


def test_a_temporary_folder_without_an_owner_is_removed_when_old(tmp_path: Path) -> None:
    folder = tmp_path / ".lip2speech-abc"
    folder.mkdir()
    assert remove_stale_folders(tmp_path) == 0
    then = folder.stat().st_mtime - MAX_UNOWNED_S - 60
    os.utime(folder, (then, then))
    assert remove_stale_folders(tmp_path) == 1
