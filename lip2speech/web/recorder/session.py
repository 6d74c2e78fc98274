"""A sitting in front of the camera: prompts that wait for their videos, and videos that arrive.

A video is received into a folder of its own, looked at there, and only then moved to its place, so that a
broken, useless or unfinished one never replaces a good one. Knows nothing of the browser.
"""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from lip2speech.data.prompts import list_videos, read_prompts
from lip2speech.video.errors import MediaError, NoFaceError
from lip2speech.video.formats import detect_demuxer

SUFFIXES = {"matroska": ".webm", "mov": ".mp4"}  # what browsers record: most of them, Safari
ROOM = ".arriving-"  # beginning of the folder in which a video is received
LEFT_S = 3600  # age of such a folder after which whoever made it has died

Check = Callable[[Path], object]
"""Reads a video beside its prompt; ValueError, with the reason, when it cannot be used."""


class RejectedUpload(ValueError):
    """A video that is not kept; nothing has changed. why: the key of its sentence in words.yaml."""

    def __init__(self, why: str, detail: str = ""):
        super().__init__(detail or why)
        self.why, self.detail = why, detail


class RecordingSession:
    """One folder of prompts.

    Args:
        check: says whether a video can be used.
        longest_s: seconds that a video may last.

    Raises:
        ValueError: no such folder, no prompt in it, or nothing can be written there.
    """

    def __init__(self, folder: Path, check: Check, longest_s: float):
        self.folder, self.check, self.longest_s = folder, check, longest_s
        self._turn = threading.Lock()  # one video at a time is looked at and put in its place
        read_prompts(folder)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ValueError(f"{folder}: nothing can be written there; choose a folder of your own.")
        sweep(folder)

    def state(self) -> dict[str, Any]:
        """All that the page shows, as JSON values; read anew, for files may come and go."""
        taken = {video.stem for video in list_videos(self.folder)}
        return {
            "folder": str(self.folder.absolute()),
            "next": f"lip2speech adapt train {shlex.quote(str(self.folder))} -o MODEL",
            "longest_s": self.longest_s,
            "prompts": [
                {"name": name, "text": text, "taken": name in taken}
                for name, text in read_prompts(self.folder).items()
            ],
        }

    def count(self) -> tuple[int, int]:
        """Prompts with a video, and all prompts."""
        prompts = self.state()["prompts"]
        return sum(prompt["taken"] for prompt in prompts), len(prompts)

    def keep(self, name: str, chunks: Iterable[bytes]) -> None:
        """Store a video of a prompt in the place of any older one. Refused: it is not kept, and why."""
        text = self._prompt(name)
        with tempfile.TemporaryDirectory(prefix=ROOM, dir=self.folder) as room:  # mode 0700
            video = receive(Path(room), name, chunks)
            video.with_name(f"{name}.txt").write_text(text, encoding="utf-8")
            with self._turn:
                self._look(video)
                self._put(video)

    def _prompt(self, name: str) -> str:
        try:
            return read_prompts(self.folder)[name]
        except (KeyError, ValueError):  # the prompt, or the whole folder, has gone
            raise RejectedUpload("no_prompt", f"{name}: no such prompt.") from None

    def _look(self, video: Path) -> None:
        try:
            self.check(video)
        except NoFaceError as error:
            raise RejectedUpload("no_face", tell(error, video)) from None
        except MediaError as error:
            raise RejectedUpload("unreadable", tell(error, video)) from None
        except ValueError as error:
            raise RejectedUpload("unfit", tell(error, video)) from None

    def _put(self, video: Path) -> None:
        place = self.folder / video.name
        os.replace(video, place)
        for older in list_videos(self.folder):  # of another format
            if older.stem == place.stem and older != place:
                older.unlink()


def receive(room: Path, name: str, chunks: Iterable[bytes]) -> Path:
    """The file ROOM/NAME.webm or .mp4, by its first bytes, safe on the disk, for its owner's eyes only."""
    parts = iter(chunks)
    first = next(parts, b"")
    suffix = SUFFIXES.get(detect_demuxer(first) or "", "")
    if not suffix:
        raise RejectedUpload("not_video", f"{name}: neither webm nor mp4.")
    video = room / f"{name}{suffix}"
    with os.fdopen(os.open(video, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(first)
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())
    return video


def tell(error: ValueError, video: Path) -> str:
    """What is wrong, without the place in which the video was only received."""
    return str(error).replace(str(video), video.name)


def sweep(folder: Path) -> None:
    """Delete what a killed capture left."""
    for room in folder.glob(f"{ROOM}*"):
        with suppress(OSError):
            if time.time() - room.stat().st_mtime > LEFT_S:
                shutil.rmtree(room)
