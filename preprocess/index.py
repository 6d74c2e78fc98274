"""The index of a prepared clip folder: one status row per clip, safe to cut off at any moment.

While a run lasts, rows are appended to `index.jsonl` one by one, so that a reader may start before the run
ends; the last row of an id counts. `Index` writes the file anew when it opens and closes, one row per id,
through a rename.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

# Ids become file names. Parts may begin with "-" (YouTube ids do) but never with a dot.
_PART = r"[A-Za-z0-9_-][A-Za-z0-9_.+-]*"
_ID = re.compile(rf"{_PART}(/{_PART})*")
_LONGEST_ID = 200


@dataclass(frozen=True)
class Row:
    """What became of one clip. `status`: "done" or "failed"; a run also gives "skipped" for what was done."""

    id: str
    split: str
    speaker: str
    text: str
    status: str
    reason: str = ""
    n_frames: int = 0
    face_share: float = 0.0


def check_id(clip_id: str) -> str:
    """The id itself, or ValueError where it cannot safely be a file name below the prepared folder."""
    if len(clip_id) > _LONGEST_ID or not _ID.fullmatch(clip_id):
        raise ValueError(
            f"clip id {clip_id[:80]!r} cannot be a file name; expected letters, digits and _ - + . in parts "
            f"joined by '/', none beginning with '.', at most {_LONGEST_ID} characters: rename the clip"
        )
    return clip_id


def clip_path(folder: Path, clip_id: str) -> Path:
    """Where the tensors of a clip lie: FOLDER/clips/ID.safetensors."""
    return folder / "clips" / f"{check_id(clip_id)}.safetensors"


def read_index(folder: Path) -> dict[str, Row]:
    """id -> last row, in the order of the file (by id after a run); a line torn by a crash is left out."""
    path = folder / "index.jsonl"
    rows: dict[str, Row] = {}
    if not path.exists():
        return rows
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        row = _parse(line)
        if row is not None:
            rows[row.id] = row
    return rows


def _parse(line: str) -> Row | None:
    try:
        value: Any = json.loads(line)
        return Row(**{field.name: value[field.name] for field in fields(Row)})
    except (ValueError, KeyError, TypeError):
        return None


class Index:
    """The open index of one run.

    Args:
        folder: the prepared clip folder; made if missing.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.rows = read_index(folder)
        self._rewrite()
        self._file = (folder / "index.jsonl").open("a", encoding="utf-8")

    def is_done(self, clip_id: str) -> bool:
        row = self.rows.get(clip_id)
        return row is not None and row.status == "done" and clip_path(self.folder, clip_id).is_file()

    def add(self, row: Row) -> None:
        if self.rows.get(row.id) == row:
            return
        self.rows[row.id] = row
        self._file.write(_line(row))
        self._file.flush()

    def close(self) -> None:
        self._file.close()
        self._rewrite()

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _rewrite(self) -> None:
        temporary = self.folder / f".index.{os.getpid()}.tmp"
        # By id: which worker ended first must not change the order in which a training sees the clips.
        self.rows = dict(sorted(self.rows.items()))
        temporary.write_text("".join(map(_line, self.rows.values())), encoding="utf-8")
        os.replace(temporary, self.folder / "index.jsonl")


def _line(row: Row) -> str:
    return json.dumps(asdict(row)) + "\n"
