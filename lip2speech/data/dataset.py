"""Reading prepared clips: the folder that `python -m preprocess` writes, as rows and tensors.

O/index.jsonl                 one row a clip: id, split, speaker, text, status, n_frames, ...
O/index.<part>.jsonl          rows of one part, where many machines wrote; the latest row of an id counts
O/clips/<id>.safetensors      roi (T, 96, 96) uint8, wav (640 T,) int16 at 16 kHz, and stored targets
O/shards/<part>.tar           the same files by the thousand; a row says where in its tar a clip lies

`shards.stream_clips` reads tars from front to end instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors.torch import load, load_file
from torch import Tensor

MIN_FRAMES = 13  # half a second, what a voice vector needs
MAX_HEADER_BYTES = 1 << 20  # bytes; a dozen tensors need one kilobyte


@dataclass(frozen=True)
class Clip:
    """One prepared clip; `roi` and `wav` are read when asked for."""

    folder: Path
    id: str
    split: str
    speaker: str
    text: str
    n_frames: int
    tar: str = ""  # the shard that holds the clip, at `offset`, `size` bytes long; empty: a file of its own
    offset: int = 0
    size: int = 0

    def tensors(self) -> dict[str, Tensor]:
        """roi (T, 96, 96) uint8, wav (640 T,) int16, and the targets that were stored."""
        if not self.tar:
            return load_file(self.path())
        with self.path().open("rb") as file:
            file.seek(self.offset)
            return load(file.read(self.size))

    def fingerprints(self) -> dict[str, str]:
        """Name of each stored target -> fingerprint of what made it."""
        with self.path().open("rb") as file:
            file.seek(self.offset)
            return read_fingerprints(file)

    def path(self) -> Path:
        """The file that holds the clip."""
        return self.folder / ("shards" if self.tar else "clips") / (self.tar or f"{self.id}.safetensors")

    def wav(self) -> Tensor:
        """(640 T,) float32 in [-1, 1)."""
        return self.tensors()["wav"].float() / 32768.0


def read_clips(folders: Sequence[str | Path], split: str, *, min_frames: int = MIN_FRAMES) -> list[Clip]:
    """The usable clips of one split (or "a|b") in prepared folders, in the order of their index.

    Raises:
        ValueError: a folder has no index, or no folder has a clip of that split.
    """
    clips: list[Clip] = []
    for folder in map(Path, folders):
        good = [r for r in read_rows(folder) if r["status"] == "done" and r["split"] in split.split("|")]
        clips += [clip_from_row(folder, row) for row in good if row["n_frames"] >= min_frames]
    if not clips:
        raise ValueError(
            f"no clip of split {split!r} in {', '.join(map(str, folders)) or 'no folder'}; give folders that "
            "have some (index.jsonl tells each clip's; of `preprocess folder`, what lies below a folder of "
            "that name)."
        )
    return clips


def clip_from_row(folder: Path, row: dict[str, Any]) -> Clip:
    """The clip of a row of an index."""
    tar = str(row.get("tar", ""))
    if Path(tar).name != tar:
        raise ValueError(f"{folder}: the shard of clip {row['id']!r} must be a file name, got {tar!r}.")
    facts = {key: row[key] for key in ("id", "split", "speaker", "text", "n_frames")}
    return Clip(folder, **facts, tar=tar, offset=row.get("offset", 0), size=row.get("size", 0))


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of a prepared folder, one for each id. ValueError: it has no index."""
    if not index_files(folder):
        raise ValueError(
            f"{folder} is no folder of prepared clips (no index.jsonl); run python -m preprocess first."
        )
    return latest_rows(index_files(folder))


def index_files(folder: Path) -> list[Path]:
    """The index of a prepared folder, and those of its parts."""
    return sorted(folder.glob("index*.jsonl"))


def latest_rows(files: Iterable[Path]) -> list[dict[str, Any]]:
    """The last row of each id, by id, so that nobody sees which worker ended first.

    Last by its time; rows of one time, or of none, by their place. A line that a crash tore, or that is still
    being written, is left out.
    """
    rows: dict[str, dict[str, Any]] = {}
    for file in files:
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
                older = rows.get(row["id"])
                if older is None or row.get("time", 0) >= older.get("time", 0):
                    rows[row["id"]] = row
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
    return [rows[name] for name in sorted(rows)]


def read_fingerprints(file: BinaryIO) -> dict[str, str]:
    """What a safetensors file says of itself, from a file that stands at its beginning."""
    size = int.from_bytes(file.read(8), "little")
    if not 0 < size <= MAX_HEADER_BYTES:
        raise ValueError(f"{getattr(file, 'name', 'the clip')}: is damaged; prepare the clip again.")
    return json.loads(file.read(size)).get("__metadata__", {})


def group_by_speaker(clips: Sequence[Clip]) -> dict[tuple[Path, str], list[int]]:
    """Positions of clips for each (folder, speaker)."""
    groups: dict[tuple[Path, str], list[int]] = {}
    for i, clip in enumerate(clips):
        groups.setdefault((clip.folder, clip.speaker), []).append(i)
    return groups


def sample_other_clip(
    clips: Sequence[Clip],
    groups: dict[tuple[Path, str], list[int]],
    i: int,
    rng: np.random.Generator,
) -> int:
    """Another clip of the speaker of clip `i`, by its position; itself when there is no other."""
    others = [j for j in groups[(clips[i].folder, clips[i].speaker)] if j != i]
    return int(rng.choice(others)) if others else i


def pad_stack(rows: Sequence[Tensor], length: int, value: float = 0.0) -> Tensor:
    """Stack tensors (..., T_i), padded at the end to `length`."""
    return torch.stack([torch.nn.functional.pad(r, (0, length - r.shape[-1]), value=value) for r in rows])
