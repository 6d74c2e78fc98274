"""The index of a prepared folder: one status row per clip, safe to interrupt at any moment.

During a run rows are appended one by one, so that readers may start before it ends; the latest row of an id
counts (`data.dataset.latest_rows`). `Index` rewrites its file atomically when it opens and closes, one row
per id. Machines that share a folder have one file each, `index.<part>.jsonl`.
"""

from __future__ import annotations

import json
import time
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from lip2speech.data.dataset import index_files, latest_rows
from lip2speech.data.utterance import RejectedClip, Utterance
from lip2speech.utils.files import atomic_write

_MAX_REASON_LENGTH = 500


@dataclass(frozen=True)
class IndexRow:
    """Status of one clip.

    Args:
        id: The clip's id.
        split: Split of the corpus.
        speaker: Name of the speaker.
        text: Transcript.
        status: "done", "skipped" (unusable) or "failed" (retried by the next run). A run also reports
            "kept": done or skipped by an earlier run.
        reason: Why the clip was skipped or failed.
        n_frames: Number of video frames.
        face_detection_rate: Share of the frames with a detected face.
        source_hash: Hash of the clip's source files.
        config_hash: Hash of what it was prepared with.
        tar: Name of the shard that holds the clip; empty if it has its own file.
        offset: Position of the clip in the shard, bytes.
        size: Size of the clip in the shard, bytes.
        time: When the row was written, seconds since 1970.
    """

    id: str
    split: str
    speaker: str
    text: str
    status: str
    reason: str = ""
    n_frames: int = 0
    face_detection_rate: float = 0.0
    source_hash: str = ""
    config_hash: str = ""
    tar: str = ""
    offset: int = 0
    size: int = 0
    time: float = field(default=0.0, compare=False)


def index_row(utterance: Utterance, status: str) -> IndexRow:
    """A row of an utterance."""
    return IndexRow(utterance.id, utterance.split, utterance.speaker, utterance.text, status)


def failed_row(clip: Utterance | RejectedClip, reason: object) -> IndexRow:
    """The row of a failed clip, with its reason on one line of limited length."""
    if isinstance(clip, RejectedClip):
        row = IndexRow(clip.id, "", "", "", "failed")
    else:
        row = index_row(clip, "failed")
    if isinstance(reason, Exception):
        reason = f"{type(reason).__name__}: {reason}"
    return replace(row, reason=" ".join(str(reason).split())[:_MAX_REASON_LENGTH])


def read_index(folder: Path) -> dict[str, IndexRow]:
    """id -> latest row of a prepared folder, of all parts, sorted by id."""
    return _rows(index_files(folder))


def _rows(files: list[Path]) -> dict[str, IndexRow]:
    rows = map(_parse, latest_rows(files))
    return {row.id: row for row in rows if row is not None}


def _parse(value: dict[str, Any]) -> IndexRow | None:
    """A row, possibly with missing optional fields; None if a required one is missing."""
    required = {f.name for f in fields(IndexRow) if f.default is MISSING}
    known = {f.name: value[f.name] for f in fields(IndexRow) if f.name in value}
    return IndexRow(**known) if required <= set(known) else None


class Index:
    """The open index of one run.

    Args:
        folder: The prepared folder; created if missing.
        part: Part of the corpus that the run writes; empty for all of it.

    Attributes:
        rows: id -> latest row, of all parts.
    """

    def __init__(self, folder: Path, part: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / (f"index.{part}.jsonl" if part else "index.jsonl")
        self.rows, self._part_rows = read_index(folder), _rows([self.path] if self.path.exists() else [])
        self._rewrite()
        self._file = self.path.open("a", encoding="utf-8")

    def add(self, row: IndexRow) -> None:
        """Append a row, unless it is the latest one of its id already."""
        if self.rows.get(row.id) == row:
            return
        row = replace(row, time=time.time())
        self.rows[row.id] = self._part_rows[row.id] = row
        self._file.write(_line(row))
        self._file.flush()

    def close(self) -> None:
        """Rewrite the file with one row per id."""
        self._file.close()
        self._rewrite()

    def __enter__(self) -> Index:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the index."""
        self.close()

    def _rewrite(self) -> None:
        # Sorted by id: the order of the clips in training must not depend on worker timing.
        self._part_rows = dict(sorted(self._part_rows.items()))
        with atomic_write(self.path) as temporary:
            temporary.write_text("".join(map(_line, self._part_rows.values())), encoding="utf-8")


def _line(row: IndexRow) -> str:
    return json.dumps(asdict(row)) + "\n"
