"""The one private folder of the page: uploads and results lie in it, and it is gone when the page stops.

    <temporary>/lip2speech-xxxx/<token>/name      a token is 128 random bits: nobody guesses another's file

What is used up is deleted at once, what is forgotten after `KEEP_S`, everything at exit.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import tempfile
import threading
import time
from pathlib import Path

KEEP_S = 600.0


class TempFileStore:
    """Makes, remembers and deletes files of people who must never see each other's."""

    def __init__(self, keep_s: float = KEEP_S) -> None:
        self.keep_s = keep_s
        self.root = Path(tempfile.mkdtemp(prefix="lip2speech-"))
        self._until: dict[Path, float] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        atexit.register(self.close)

    def new(self) -> Path:
        """An empty folder, kept for `keep_s` seconds unless deleted before."""
        room = self.root / secrets.token_hex(16)
        room.mkdir(mode=0o700)
        with self._lock:
            self._until[room] = time.monotonic() + self.keep_s
        return room

    def adopt(self, path: Path) -> Path:
        """The same file under a name of its own, so that two people's equal uploads are two files."""
        own = self.new() / path.name
        os.link(path, own)
        return own

    def delete(self, path: Path | str | None) -> None:
        """The room in which a file lies; a path outside is left alone."""
        if path is None or self.root not in Path(path).resolve().parents:
            return
        room = self.root / Path(path).resolve().relative_to(self.root.resolve()).parts[0]
        shutil.rmtree(room, ignore_errors=True)
        with self._lock:
            self._until.pop(room, None)

    def drop(self, pattern: str) -> None:
        """Delete files that lie in no room, by name."""
        for path in self.root.glob(pattern):
            if path.is_file():
                path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Delete what is older than it may be."""
        now = time.monotonic()
        with self._lock:
            old = [room for room, until in self._until.items() if until < now]
        for room in old:
            self.delete(room / "any")

    def sweep_every(self, seconds: float) -> None:
        """Sweep from now on in the background, until `close`."""

        def work() -> None:
            while not self._closed.wait(seconds):
                self.sweep()

        threading.Thread(target=work, daemon=True, name="sweep").start()

    def close(self) -> None:
        """Delete everything."""
        self._closed.set()
        shutil.rmtree(self.root, ignore_errors=True)
