"""The storage formats of a prepared folder: one file per clip, or WebDataset tar shards.

A store names the file that a worker writes, and decides which rows are durable: the index must not have a row
"done" before the clip is where the row says. Tars are uncompressed, so that a clip can be read by its offset;
their layout is in `data.webdataset`.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from lip2speech.data.utterance import Utterance
from preprocess.index import IndexRow
from preprocess.validation import check_id

MAX_SHARD_BYTES = 256 << 20  # what a kill may lose, and one request to an object store fetches
_METADATA = ("id", "split", "speaker", "text", "n_frames", "face_detection_rate")


class ClipStore(Protocol):
    """The interface of a storage format."""

    def path(self, clip_id: str) -> Path:
        """The file that a worker writes for a clip."""

    def contains(self, row: IndexRow, utterance: Utterance) -> bool:
        """Whether the clip of an earlier run's row exists in this format, with the utterance's metadata."""

    def add(self, row: IndexRow) -> list[IndexRow]:
        """Store a clip whose file is at its `path`; returns the rows that are durable now."""

    def close(self) -> list[IndexRow]:
        """Finish the run; returns the rows that are durable now."""


class ClipFiles:
    """FOLDER/clips/ID.safetensors"""

    def __init__(self, folder: Path, part: str = "") -> None:
        self.folder = folder / "clips"

    def path(self, clip_id: str) -> Path:
        """The clip's final file."""
        return self.folder / f"{check_id(clip_id)}.safetensors"

    def contains(self, row: IndexRow, utterance: Utterance) -> bool:
        """Whether the clip has its own file."""
        return not row.tar and self.path(row.id).is_file()

    def add(self, row: IndexRow) -> list[IndexRow]:
        """The row itself: the file is in place."""
        return [row]

    def close(self) -> list[IndexRow]:
        """No rows."""
        return []


class TarShards:
    """FOLDER/shards/PART-NNNNNN.tar; a tar is renamed into place when full, before its rows are returned.

    Args:
        folder: The prepared folder.
        part: Prefix of the names, so that machines that share the folder do not share a tar.
        limit: Size at which a tar is full, bytes.
    """

    def __init__(self, folder: Path, part: str = "", limit: int = MAX_SHARD_BYTES) -> None:
        self.folder, self.part, self.limit = folder / "shards", part or "all", limit
        self._staging = self.folder / f".{self.part}"
        shutil.rmtree(self._staging, ignore_errors=True)  # left by a killed run
        self._tar: tarfile.TarFile | None = None
        self._rows: list[IndexRow] = []

    def path(self, clip_id: str) -> Path:
        """A staging file, which `add` moves into the tar."""
        return self._staging / f"{check_id(clip_id)}.safetensors"

    def contains(self, row: IndexRow, utterance: Utterance) -> bool:
        """Whether a tar holds the clip; streams read the metadata in the tar, so it must be unchanged."""
        unchanged = (utterance.split, utterance.speaker, utterance.text) == (row.split, row.speaker, row.text)
        tar = self.folder / row.tar
        return bool(row.tar) and unchanged and tar.is_file() and tar.stat().st_size >= row.offset + row.size

    def add(self, row: IndexRow) -> list[IndexRow]:
        """Append a clip to the open tar; returns the rows of the tar if it is full."""
        if self._tar is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._tar = tarfile.open(self._temporary, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        file, key = self.path(row.id), f"{len(self._rows):06d}"
        metadata = json.dumps({name: getattr(row, name) for name in _METADATA}).encode()
        self._append(f"{key}.json", io.BytesIO(metadata), len(metadata))
        with file.open("rb") as content:
            offset = self._append(f"{key}.safetensors", content, size := file.stat().st_size)
        file.unlink()
        self._rows.append(replace(row, offset=offset, size=size))
        return self.close() if self._tar.offset >= self.limit else []

    def _append(self, name: str, content: io.BufferedIOBase, size: int) -> int:
        """Append a member with reproducible bytes; returns the offset of its content."""
        assert self._tar is not None, "a tar is open"
        member = tarfile.TarInfo(name)
        member.size = size
        offset = self._tar.offset + tarfile.BLOCKSIZE
        self._tar.addfile(member, content)
        return int(offset)

    @property
    def _temporary(self) -> Path:
        return self.folder / f".{self.part}.tar.tmp"

    def close(self) -> list[IndexRow]:
        """Rename the open tar, if any, into place; returns its rows."""
        if self._tar is None:
            return []
        self._tar.close()
        number = len(list(self.folder.glob(f"{self.part}-*.tar")))
        while (path := self.folder / f"{self.part}-{number:06d}.tar").exists():
            number += 1
        os.replace(self._temporary, path)
        durable = [replace(row, tar=path.name) for row in self._rows]
        self._tar, self._rows = None, []
        return durable


STORES: dict[str, type[ClipFiles] | type[TarShards]] = {"files": ClipFiles, "webdataset": TarShards}
