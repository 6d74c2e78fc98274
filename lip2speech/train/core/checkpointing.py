"""Snapshots of a run: written whole or not at all, the newest few kept, the newest one loaded.

Their tensors are of the CPU, so a run that was on a GPU goes on without one, and the other way round.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lip2speech.train.core.device import CPU, moved

if TYPE_CHECKING:
    from lip2speech.train.core.trainer import TrainingTask


def snapshots(folder: Path) -> list[Path]:
    """Snapshots of a run, oldest first."""
    return sorted(folder.glob("step-*.pt"))


def save_snapshot(task: TrainingTask, step: int, folder: Path, keep: int) -> None:
    """Write step-N.pt under a temporary name, rename, drop all but the newest `keep`."""
    path = folder / f"step-{step:08d}.pt"
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        torch.save({"step": step, "task": moved(task.state(), CPU)}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    for old in [*snapshots(folder)[:-keep], *folder.glob("step-*.tmp")]:  # a .tmp was cut off half-way
        old.unlink()


def resume(task: TrainingTask, folder: Path) -> int:
    """Load the newest snapshot into `task` and return its step; 0 when there is none."""
    found = snapshots(folder)
    if not found:
        return 0
    state = torch.load(found[-1], map_location="cpu", weights_only=True)
    task.load_state(state["task"])
    task.place(task.device)  # an average that was read is on the CPU
    return int(state["step"])
