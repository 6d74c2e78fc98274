"""The index of a prepared clip folder: one status row per clip, safe to cut off at any moment.

While a run lasts, rows are appended one by one, so that a reader may start before the run ends; the latest
row of an id counts (`data.dataset.latest_rows`). `Index` writes its file anew when it opens and closes, one
row per id, through a rename. Machines that share a folder have a file each, `index.<part>.jsonl`.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from lip2speech.data.dataset import index_files, latest_rows
from lip2speech.data.utterance import RejectedClip, Utterance

_LONGEST_REASON = 500


@dataclass(frozen=True)
class IndexRow:
    """What became of one clip.

    Args:
        status: "done", "skipped" (can teach nothing: `reason`) or "failed" (`reason`; tried again by the next
            run). A run also gives "kept" for what an earlier one had done or skipped.
        source: hash of the clip's files; recipe: of what was made of them.
        tar, offset, size: where the clip lies in a shard; empty: in a file of its own.
        time: when the row was written, seconds since 1970.
    """

    id: str
    split: str
    speaker: str
    text: str
    status: str
    reason: str = ""
    n_frames: int = 0
    face_detection_rate: float = 0.0
    source: str = ""
    recipe: str = ""
    tar: str = ""
    offset: int = 0
    size: int = 0
    time: float = field(default=0.0, compare=False)


def index_row(utterance: Utterance, status: str) -> IndexRow:
    """A row with an utterance's own facts."""
    return IndexRow(utterance.id, utterance.split, utterance.speaker, utterance.text, status)


def failed_row(clip: Utterance | RejectedClip, reason: object) -> IndexRow:
    """The row of a clip that came to nothing."""
    row = (
        IndexRow(clip.id, "", "", "", "failed")
        if isinstance(clip, RejectedClip)
        else index_row(clip, "failed")
    )
    if isinstance(reason, Exception):
        reason = f"{type(reason).__name__}: {reason}"
    return replace(row, reason=" ".join(str(reason).split())[:_LONGEST_REASON])


def read_index(folder: Path) -> dict[str, IndexRow]:
    """id -> latest row of a prepared folder, of all its parts, by id."""
    return _rows(index_files(folder))


def _rows(files: list[Path]) -> dict[str, IndexRow]:
    rows = map(_parse, latest_rows(files))
    return {row.id: row for row in rows if row is not None}


def _parse(value: dict[str, Any]) -> IndexRow | None:
    """A row of this or an earlier form; None where it lacks what every form had."""
    needed = {f.name for f in fields(IndexRow) if f.default is MISSING}
    known = {f.name: value[f.name] for f in fields(IndexRow) if f.name in value}
    return IndexRow(**known) if needed <= set(known) else None


class Index:
    """The open index of one run.

    Args:
        folder: the prepared clip folder; made if missing.
        part: which part of the corpus the run writes; empty: all of it.

    Attributes:
        rows: id -> latest row, of all parts.
    """

    def __init__(self, folder: Path, part: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / (f"index.{part}.jsonl" if part else "index.jsonl")
        self.rows, self._own = read_index(folder), _rows([self.path] if self.path.exists() else [])
        self._rewrite()
        self._file = self.path.open("a", encoding="utf-8")

    def add(self, row: IndexRow) -> None:
        """Write a row, unless it is there already."""
        if self.rows.get(row.id) == row:
            return
        row = replace(row, time=time.time())
        self.rows[row.id] = self._own[row.id] = row
        self._file.write(_line(row))
        self._file.flush()

    def close(self) -> None:
        """End the file: one row per id."""
        self._file.close()
        self._rewrite()

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _rewrite(self) -> None:
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        # By id: which worker ended first must not change the order in which a training sees the clips.
        self._own = dict(sorted(self._own.items()))
        temporary.write_text("".join(map(_line, self._own.values())), encoding="utf-8")
        os.replace(temporary, self.path)


def _line(row: IndexRow) -> str:
    return json.dumps(asdict(row)) + "\n"
