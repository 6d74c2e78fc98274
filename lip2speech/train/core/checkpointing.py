"""Training checkpoints: written atomically, the newest few kept, the newest loaded on resume.

Tensors are stored as CPU tensors, so a run may resume on another kind of device.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

from lip2speech.train.core.device import move_to
from lip2speech.train.core.task import TrainingTask
from lip2speech.utils.device import CPU


def checkpoints(folder: Path) -> list[Path]:
    """Training checkpoints of a run, oldest first."""
    return sorted(folder.glob("step-*.pt"))


def save_checkpoint(task: TrainingTask, step: int, folder: Path, keep_last_n: int) -> None:
    """Write step-N.pt under a temporary name, rename it, delete all but the newest `keep_last_n`."""
    path = folder / f"step-{step:08d}.pt"
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        torch.save({"step": step, "task": move_to(task.state_dict(), CPU)}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    for old in [*checkpoints(folder)[:-keep_last_n], *folder.glob("step-*.tmp")]:  # a .tmp is incomplete
        old.unlink()


def resume(task: TrainingTask, folder: Path) -> int:
    """Load the newest checkpoint into `task` and return its step; 0 if there is none."""
    found = checkpoints(folder)
    if not found:
        return 0
    state = torch.load(found[-1], map_location="cpu", weights_only=True)
    task.load_state_dict(state["task"])
    task.to(task.device)  # the EMA weights were loaded to the CPU
    return int(state["step"])
