"""Reading prepared clips: the folder that `python -m preprocess` writes, as rows and tensors.

O/index.jsonl                 one row a clip: id, split, speaker, text, status, n_frames, ...
O/clips/<id>.safetensors      roi (T, 96, 96) uint8, wav (640 T,) int16 at 16 kHz
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

MIN_FRAMES = 13  # half a second, what a voice vector needs


@dataclass(frozen=True)
class Clip:
    """One prepared clip; `roi` and `wav` are read when asked for."""

    folder: Path
    id: str
    split: str
    speaker: str
    text: str
    n_frames: int

    def tensors(self) -> dict[str, Tensor]:
        """roi (T, 96, 96) uint8 and wav (640 T,) int16."""
        return load_file(self.folder / "clips" / f"{self.id}.safetensors")

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
        keys = ("id", "split", "speaker", "text", "n_frames")
        clips += [Clip(folder, **{k: r[k] for k in keys}) for r in good if r["n_frames"] >= min_frames]
    if not clips:
        raise ValueError(f"no clip of split {split!r} in {', '.join(map(str, folders)) or 'no folder'}.")
    return clips


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The last row of each id; a line that a crash tore, or that is still being written, is left out."""
    index = folder / "index.jsonl"
    if not index.is_file():
        raise ValueError(
            f"{folder} is no folder of prepared clips (no index.jsonl); run python -m preprocess first."
        )
    rows: dict[str, dict[str, Any]] = {}
    for line in index.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
            rows[row["id"]] = row
        except (ValueError, KeyError, TypeError):
            continue
    return list(rows.values())


def by_speaker(clips: Sequence[Clip]) -> dict[tuple[Path, str], list[int]]:
    """Positions of clips for each (folder, speaker)."""
    groups: dict[tuple[Path, str], list[int]] = {}
    for i, clip in enumerate(clips):
        groups.setdefault((clip.folder, clip.speaker), []).append(i)
    return groups


def another_clip(
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
