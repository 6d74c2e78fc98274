"""The folder of prompts that is being recorded: its state, and how an upload is stored.

An upload is written to a temporary directory, validated there, and only then moved into place, so that a
broken, unusable or incomplete video never replaces a good one. Independent of the web server.
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

SUFFIXES = {"matroska": ".webm", "mov": ".mp4"}  # what browsers record; Safari mp4, others webm
UPLOAD_PREFIX = ".uploading-"  # of the temporary directory of an upload
STALE_AFTER_S = 3600  # age after which such a directory is left over from a killed process

Validator = Callable[[Path], object]
"""Reads a video that has its prompt beside it; raises ValueError with the reason if it cannot be used."""


class RejectedUploadError(ValueError):
    """A video that is not stored. reason: key of its message in i18n.yaml."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(detail or reason)
        self.reason, self.detail = reason, detail


class RecordingSession:
    """One folder of prompts.

    Args:
        folder: where the prompts are and the videos go.
        validate: decides whether a video can be used.
        max_duration_s: limit of one video in seconds, shown to the page.

    Raises:
        ValueError: the folder is missing, has no prompts, or is not writable.
    """

    def __init__(self, folder: Path, validate: Validator, max_duration_s: float):
        self.folder, self.validate, self.max_duration_s = folder, validate, max_duration_s
        self._lock = threading.Lock()  # one video at a time is validated and moved into place
        read_prompts(folder)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ValueError(f"{folder}: is not writable; choose another folder.")
        delete_stale_uploads(folder)

    def state(self) -> dict[str, Any]:
        """What the page shows, as JSON values. Files are listed again on each call, as they may change."""
        recorded = {video.stem for video in list_videos(self.folder)}
        return {
            "folder": str(self.folder.absolute()),
            "next_command": f"lip2speech adapt train {shlex.quote(str(self.folder))} -o MODEL",
            "max_duration_s": self.max_duration_s,
            "prompts": [
                {"name": name, "text": text, "recorded": name in recorded}
                for name, text in read_prompts(self.folder).items()
            ],
        }

    def count(self) -> tuple[int, int]:
        """Number of prompts with a video, and of all prompts."""
        prompts = self.state()["prompts"]
        return sum(prompt["recorded"] for prompt in prompts), len(prompts)

    def store(self, name: str, chunks: Iterable[bytes]) -> None:
        """Store the video of a prompt, replacing any earlier one. RejectedUploadError: nothing changed."""
        text = self._prompt(name)
        with tempfile.TemporaryDirectory(prefix=UPLOAD_PREFIX, dir=self.folder) as directory:  # mode 0700
            video = write_upload(Path(directory), name, chunks)
            video.with_name(f"{name}.txt").write_text(text, encoding="utf-8")
            with self._lock:
                self._validate(video)
                self._commit(video)

    def _prompt(self, name: str) -> str:
        try:
            return read_prompts(self.folder)[name]
        except (KeyError, ValueError):  # the prompt or the whole folder is gone
            raise RejectedUploadError("no_prompt", f"{name}: no such prompt.") from None

    def _validate(self, video: Path) -> None:
        try:
            self.validate(video)
        except NoFaceError as error:
            raise RejectedUploadError("no_face", strip_directory(error, video)) from None
        except MediaError as error:
            raise RejectedUploadError("unreadable", strip_directory(error, video)) from None
        except ValueError as error:
            raise RejectedUploadError("unusable", strip_directory(error, video)) from None

    def _commit(self, video: Path) -> None:
        target = self.folder / video.name
        os.replace(video, target)
        for other in list_videos(self.folder):  # an earlier recording in another format
            if other.stem == target.stem and other != target:
                other.unlink()


def write_upload(directory: Path, name: str, chunks: Iterable[bytes]) -> Path:
    """Write NAME.webm or NAME.mp4, chosen by the first bytes, with mode 0600 and synced to disk."""
    remaining = iter(chunks)
    first = next(remaining, b"")
    suffix = SUFFIXES.get(detect_demuxer(first) or "", "")
    if not suffix:
        raise RejectedUploadError("not_video", f"{name}: neither WebM nor MP4.")
    video = directory / f"{name}{suffix}"
    with os.fdopen(os.open(video, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(first)
        file.writelines(remaining)
        file.flush()
        os.fsync(file.fileno())
    return video


def strip_directory(error: ValueError, video: Path) -> str:
    """An error message without the temporary directory of the upload."""
    return str(error).replace(str(video), video.name)


def delete_stale_uploads(folder: Path) -> None:
    """Delete what a killed process left behind."""
    for directory in folder.glob(f"{UPLOAD_PREFIX}*"):
        with suppress(OSError):
            if time.time() - directory.stat().st_mtime > STALE_AFTER_S:
                shutil.rmtree(directory)
