"""Training checkpoints: written atomically, the newest few kept, the newest whole one loaded on resume.

Tensors are stored as CPU tensors, so a run may resume on another kind of device.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class Resumed:
    """Where a run continues.

    Attributes:
        step: of the checkpoint that was loaded; 0 if there is none.
        damaged: newer checkpoints that cannot be read.
    """

    step: int = 0
    damaged: tuple[Path, ...] = ()


def resume(task: TrainingTask, folder: Path) -> Resumed:
    """Load the newest whole checkpoint into `task`.

    Raises:
        ValueError: there are checkpoints, and all are damaged.
    """
    found = checkpoints(folder)
    damaged: list[Path] = []
    for path in reversed(found):
        state = read_checkpoint(path)
        if state is None:
            damaged.append(path)
            continue
        task.load_state_dict(state["task"])
        task.to(task.device)  # the EMA weights were loaded to the CPU
        return Resumed(int(state["step"]), tuple(damaged))
    if damaged:
        raise ValueError(
            f"{found[-1]}: damaged, and so is every other checkpoint of the run ({len(found)} in all); "
            "delete them to start again from step 0, or copy whole ones back."
        )
    return Resumed()


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """The contents of a training checkpoint; None if the file is truncated or otherwise damaged."""
    if not zipfile.is_zipfile(path):  # its directory stands at the end
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError):
        return None
    return state if isinstance(state, dict) and {"step", "task"} <= state.keys() else None


def set_aside(resumed: Resumed, log_fn: Callable[[str], None]) -> None:
    """Rename damaged checkpoints to NAME.damaged, so that they count no more, and report each in a line."""
    for path in resumed.damaged:
        aside = path.with_name(path.name + ".damaged")
        path.replace(aside)
        log_fn(f"{path}: damaged, kept as {aside.name}; resuming from step {resumed.step}.")
