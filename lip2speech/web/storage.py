"""Temporary files of the web demo: one private directory that is deleted when the server stops.

    <temporary>/lip2speech-xxxx/<token>/name      token: 128 random bits, so paths cannot be guessed

Uploads are deleted after use, everything else after `RETENTION_S` seconds, and the whole directory at exit.
"""

from __future__ import annotations

import atexit
import secrets
import shutil
import tempfile
import threading
import time
from pathlib import Path

RETENTION_S = 600.0


class TempFileStore:
    """Creates, tracks and deletes the files of users who must not see each other's.

    Args:
        retention_s: seconds after which a directory is deleted by `delete_expired`.
    """

    def __init__(self, retention_s: float = RETENTION_S) -> None:
        self.retention_s = retention_s
        self.root = Path(tempfile.mkdtemp(prefix="lip2speech-")).resolve()
        self._expiry: dict[Path, float] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        atexit.register(self.close)

    def create(self) -> Path:
        """A new, empty directory with mode 0700."""
        directory = self.root / secrets.token_hex(16)
        directory.mkdir(mode=0o700)
        with self._lock:
            self._expiry[directory] = time.monotonic() + self.retention_s
        return directory

    def __contains__(self, path: Path | str) -> bool:
        """Whether a path is inside one of the directories."""
        return self.root in Path(path).resolve().parents

    def delete(self, path: Path | str | None) -> None:
        """Delete the directory that holds a file. Paths outside the store are ignored."""
        if path is None or path not in self:
            return
        directory = self.root / Path(path).resolve().relative_to(self.root).parts[0]
        shutil.rmtree(directory, ignore_errors=True)
        with self._lock:
            self._expiry.pop(directory, None)

    def delete_expired(self) -> None:
        """Delete the directories that are older than `retention_s`."""
        now = time.monotonic()
        with self._lock:
            expired = [directory for directory, expiry in self._expiry.items() if expiry < now]
        for directory in expired:
            self.delete(directory / "any")

    def start_cleanup(self, interval_s: float) -> None:
        """Call `delete_expired` every `interval_s` seconds in a background thread until `close`."""

        def run() -> None:
            while not self._closed.wait(interval_s):
                self.delete_expired()

        threading.Thread(target=run, daemon=True, name="temp-file-cleanup").start()

    def close(self) -> None:
        """Delete everything."""
        self._closed.set()
        shutil.rmtree(self.root, ignore_errors=True)
