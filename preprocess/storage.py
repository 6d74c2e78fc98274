"""The two forms of a prepared folder: a file for each clip, or tar shards of many clips.

A form says where a worker puts a clip's file, and which rows are safe: a row must not say "done" before its
clip lies where it says. Tars are written uncompressed, so that a clip can be read alone, by its offset; their
layout is in `data.shards`.
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

SHARD_BYTES = 256 << 20  # of a tar: what a kill may cost, and what one request to an object store fetches
_KEYS = ("id", "split", "speaker", "text", "n_frames", "face_detection_rate")


class ClipStore(Protocol):
    """What a run asks of the form it writes."""

    def path(self, clip_id: str) -> Path:
        """Where a worker puts the clip's file."""

    def holds(self, row: IndexRow, utterance: Utterance) -> bool:
        """Whether the clip of an earlier run's row is there, in this form, with the utterance's facts."""

    def take(self, row: IndexRow) -> list[IndexRow]:
        """A clip whose file is at its `path`; the rows that are safe now."""

    def close(self) -> list[IndexRow]:
        """The end of the run; the rows that are safe now."""


class ClipFiles:
    """FOLDER/clips/ID.safetensors"""

    def __init__(self, folder: Path, part: str = "") -> None:
        self.folder = folder / "clips"

    def path(self, clip_id: str) -> Path:
        return self.folder / f"{check_id(clip_id)}.safetensors"

    def holds(self, row: IndexRow, utterance: Utterance) -> bool:
        return not row.tar and self.path(row.id).is_file()

    def take(self, row: IndexRow) -> list[IndexRow]:
        return [row]

    def close(self) -> list[IndexRow]:
        return []


class TarShards:
    """FOLDER/shards/PART-NNNNNN.tar; a tar appears whole, with its rows after it.

    Args:
        part: begins the names, so that machines that share the folder do not share a tar.
    """

    def __init__(self, folder: Path, part: str = "", limit: int = SHARD_BYTES) -> None:
        self.folder, self.part, self.limit = folder / "shards", part or "all", limit
        self._staging = self.folder / f".{self.part}"
        shutil.rmtree(self._staging, ignore_errors=True)  # of a run that was killed
        self._tar: tarfile.TarFile | None = None
        self._rows: list[IndexRow] = []

    def path(self, clip_id: str) -> Path:
        return self._staging / f"{check_id(clip_id)}.safetensors"

    def holds(self, row: IndexRow, utterance: Utterance) -> bool:
        facts = (utterance.split, utterance.speaker, utterance.text)
        # A stream sees the facts that lie in the tar.
        return bool(row.tar) and facts == (row.split, row.speaker, row.text) and self._reaches(row)

    def _reaches(self, row: IndexRow) -> bool:
        tar = self.folder / row.tar
        return tar.is_file() and tar.stat().st_size >= row.offset + row.size

    def take(self, row: IndexRow) -> list[IndexRow]:
        if self._tar is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._tar = tarfile.open(self._temporary, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        file, key = self.path(row.id), f"{len(self._rows):06d}"
        facts = json.dumps({name: getattr(row, name) for name in _KEYS}).encode()
        self._add(f"{key}.json", io.BytesIO(facts), len(facts))
        with file.open("rb") as content:
            offset = self._add(f"{key}.safetensors", content, size := file.stat().st_size)
        file.unlink()
        self._rows.append(replace(row, offset=offset, size=size))
        return self.close() if self._tar.offset >= self.limit else []

    def _add(self, name: str, content: io.BufferedIOBase, size: int) -> int:
        """A member of the open tar, always the same bytes; where its content begins."""
        assert self._tar is not None, "a tar is open"
        member = tarfile.TarInfo(name)
        member.size = size
        offset = self._tar.offset + tarfile.BLOCKSIZE
        self._tar.addfile(member, content)
        return offset

    @property
    def _temporary(self) -> Path:
        return self.folder / f".{self.part}.tar.tmp"

    def close(self) -> list[IndexRow]:
        if self._tar is None:
            return []
        self._tar.close()
        number = len(list(self.folder.glob(f"{self.part}-*.tar")))
        while (place := self.folder / f"{self.part}-{number:06d}.tar").exists():
            number += 1
        os.replace(self._temporary, place)
        safe = [replace(row, tar=place.name) for row in self._rows]
        self._tar, self._rows = None, []
        return safe


STORES: dict[str, type[ClipFiles] | type[TarShards]] = {"clips": ClipFiles, "shards": TarShards}
