"""Atomic file writing: a file appears complete or not at all."""

from __future__ import annotations

import errno
import io
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""System errors of a file that cannot grow: the disk, the quota or the allowed size is used up."""

TEMPORARY_PREFIX = ".lip2speech-"
OWNER_FILE = "owner"
MAX_UNOWNED_S = 86_400.0  # a temporary folder without an owner file is of a process that was just starting


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path in the same folder, renamed to `path` on success and removed on an exception.

    Raises:
        OSError: with `path` as its file name, when the disk is full.
    """
    path = Path(path)
    with naming_full_disk(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:40]}.", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def naming_full_disk(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let an error of a full disk name `path`, which the caller knows, and not a temporary file or none."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise OSError(error.errno, os.strerror(error.errno), os.fspath(path)) from error


def move_into_place(temporary: Path, path: Path, *, overwrite: bool) -> None:
    """Give a complete file its name; without `overwrite` only if nothing has that name by now.

    Raises:
        FileExistsError: a file of that name appeared since the caller looked; it is kept.
    """
    if overwrite:
        os.replace(temporary, path)
        return
    try:
        os.link(temporary, path)  # unlike a rename it never replaces a file
    except FileExistsError as error:
        raise _appeared(path) from error
    except OSError:  # a file system without hard links
        _claim(path)
        os.replace(temporary, path)
    else:
        temporary.unlink()


def _claim(path: Path) -> None:
    """Create an empty file; FileExistsError if there is one."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError as error:
        raise _appeared(path) from error


def _appeared(path: Path) -> FileExistsError:
    reason = "was written by another process meanwhile and is kept; pass --overwrite to replace it"
    return FileExistsError(errno.EEXIST, reason, os.fspath(path))


@contextmanager
def owned_temporary_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder inside `folder`, removed at the end; after a kill, by `remove_stale_folders`.

    It holds an open and locked file, which the system unlocks when this process ends, however it ends.
    """
    temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=folder))
    try:
        with (temporary / OWNER_FILE).open("wb", buffering=0) as owner:
            _lock(owner.fileno())
            owner.write(b"!")  # an empty one is not locked yet
            yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_stale_folders(folder: Path) -> int:
    """Remove the temporary folders in `folder` whose owner process is gone; returns how many there were."""
    stale = [found for found in folder.glob(f"{TEMPORARY_PREFIX}*") if found.is_dir() and _is_stale(found)]
    for found in stale:
        shutil.rmtree(found, ignore_errors=True)
    return len(stale)


def _is_stale(temporary: Path) -> bool:
    owner_file = temporary / OWNER_FILE
    with suppress(OSError):  # it is gone, or not ours to open
        if not owner_file.exists() or owner_file.stat().st_size == 0:
            return time.time() - temporary.stat().st_mtime > MAX_UNOWNED_S
        with owner_file.open("r+b") as owner:
            return _lock(owner.fileno())
    return False


def _lock(handle: int) -> bool:
    """Lock an open file until it is closed; False if another process has locked it."""
    try:
        import fcntl
    except ImportError:  # Windows
        return _lock_on_windows(handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _lock_on_windows(handle: int) -> bool:
    import msvcrt

    try:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
    except OSError:
        return False
    return True


class CheckedFile(io.FileIO):
    """A new binary file that keeps its first failed write, for C libraries that forget the reason.

    `write` returns 0 instead of raising, as such libraries expect; `check` raises.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path, "w+")
        self.error: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Write all of `data`; returns its size in bytes, or 0 after a failure."""
        view = memoryview(data).cast("B")
        size = 0
        try:
            while size < len(view):
                size += super().write(view[size:]) or 0
        except OSError as error:
            self.error = self.error or error
            return 0
        return size

    def check(self) -> None:
        """OSError: an earlier write failed."""
        if self.error is not None:
            raise self.error


def _umask() -> int:
    """The process umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
