"""Prepared clips: the folder that `python -m preprocess` writes, as index rows and tensors.

O/index.jsonl                 one row per clip: id, split, speaker, text, status, n_frames, ...
O/index.<part>.jsonl          rows written by one of several machines; the latest row of an id counts
O/clips/<id>.safetensors      roi (T, 96, 96) uint8, wav (640 T,) int16 at 16 kHz, and precomputed targets
O/shards/<part>.tar           the same files in WebDataset shards; an index row has a clip's offset in its tar

`webdataset.stream_clips` reads the tars sequentially instead.
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

MIN_FRAMES = 13  # half a second, the shortest input of a speaker encoder
MAX_HEADER_BYTES = 1 << 20  # a dozen tensors need one kilobyte


@dataclass(frozen=True)
class Clip:
    """One prepared clip; its tensors are read on demand.

    Args:
        folder: The prepared folder.
        id: Unique in the folder.
        split: train, valid, test or a split of the corpus.
        speaker: Unique in the folder.
        text: Transcript; empty if unknown.
        n_frames: T, the number of video frames.
        tar: Name of the shard that holds the clip; empty if the clip has its own file.
        offset: Position of the clip in the shard, bytes.
        size: Size of the clip in the shard, bytes.
    """

    folder: Path
    id: str
    split: str
    speaker: str
    text: str
    n_frames: int
    tar: str = ""
    offset: int = 0
    size: int = 0

    def tensors(self) -> dict[str, Tensor]:
        """roi (T, 96, 96) uint8, wav (640 T,) int16, and the precomputed targets."""
        if not self.tar:
            return load_file(self.path())
        with self.path().open("rb") as file:
            file.seek(self.offset)
            return load(file.read(self.size))

    def fingerprints(self) -> dict[str, str]:
        """Name of each precomputed target -> fingerprint of what extracted it."""
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
    """The usable clips of one split (or "a|b") of prepared folders, in index order.

    Raises:
        ValueError: A folder has no index, or no folder has a clip of that split.
    """
    clips: list[Clip] = []
    for folder in map(Path, folders):
        rows = [r for r in read_rows(folder) if r["status"] == "done" and r["split"] in split.split("|")]
        clips += [clip_from_row(folder, row) for row in rows if row["n_frames"] >= min_frames]
    if not clips:
        raise ValueError(
            f"no clip of split {split!r} in {', '.join(map(str, folders)) or 'no folder'}; give folders that "
            "have some (see `split` in index.jsonl; `preprocess folder` takes it from a folder of that name)."
        )
    return clips


def clip_from_row(folder: Path, row: dict[str, Any]) -> Clip:
    """The clip of an index row. ValueError: its shard is not a plain file name."""
    tar = str(row.get("tar", ""))
    if Path(tar).name != tar:
        raise ValueError(f"{folder}: the shard of clip {row['id']!r} must be a file name, got {tar!r}.")
    fields = {key: row[key] for key in ("id", "split", "speaker", "text", "n_frames")}
    return Clip(folder, **fields, tar=tar, offset=row.get("offset", 0), size=row.get("size", 0))


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The index rows of a prepared folder, one per id. ValueError: it has no index."""
    if not index_files(folder):
        raise ValueError(
            f"{folder} is not a folder of prepared clips (no index.jsonl); run python -m preprocess first."
        )
    return latest_rows(index_files(folder))


def index_files(folder: Path) -> list[Path]:
    """All index files of a prepared folder."""
    return sorted(folder.glob("index*.jsonl"))


def latest_rows(files: Iterable[Path]) -> list[dict[str, Any]]:
    """The latest row of each id, sorted by id so that the order does not depend on worker timing.

    Latest by `time`; of equal times, or without any, the last one read. Truncated lines (after a crash, or
    while being written) are skipped.
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
    """The metadata of a safetensors file, from a file object at its beginning. ValueError: damaged."""
    size = int.from_bytes(file.read(8), "little")
    if not 0 < size <= MAX_HEADER_BYTES:
        raise ValueError(f"{getattr(file, 'name', 'the clip')}: is damaged; prepare the clip again.")
    metadata: dict[str, str] = json.loads(file.read(size)).get("__metadata__", {})
    return metadata


def group_by_speaker(clips: Sequence[Clip]) -> dict[tuple[Path, str], list[int]]:
    """(folder, speaker) -> indices of their clips."""
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
    """Index of a random other clip of the speaker of clip `i`, or `i` if there is none."""
    others = [j for j in groups[(clips[i].folder, clips[i].speaker)] if j != i]
    return int(rng.choice(others)) if others else i


def pad_stack(rows: Sequence[Tensor], length: int, value: float = 0.0) -> Tensor:
    """Stack tensors (..., T_i), padded at the end to `length`."""
    return torch.stack([torch.nn.functional.pad(r, (0, length - r.shape[-1]), value=value) for r in rows])
