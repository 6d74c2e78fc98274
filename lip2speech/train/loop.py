"""The training loop every task shares: schedule, resume, log, progress, snapshots.

A task owns its modules and data and does one update; the loop counts. Every step seeds its random numbers
from (seed, step), so a resumed run draws the very batches and dropouts of an uninterrupted one.
"""

from __future__ import annotations

import json
import math
import os
import random
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LoopConfig:
    """How long, how often, how exactly. `precision` bf16 means autocast; weights stay float32."""

    steps: int = 50_000
    batch_size: int = 16
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    log_every: int = 20
    valid_every: int = 500
    save_every: int = 500
    keep: int = 2

    def __post_init__(self) -> None:
        for name in ("batch_size", "log_every", "valid_every", "save_every", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}.")


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with a linear warm-up, then a cosine to `final` of the peak."""

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    warmup: int = 200
    final: float = 0.02
    grad_clip: float = 1.0


class Task(ABC):
    """What is trained: state, one update, a validation."""

    @abstractmethod
    def update(self, step: int) -> dict[str, float]:
        """One training step; the numbers it returns are logged."""

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Held-out figures, smaller `loss` is better."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Everything a resumed run needs, tensors and plain containers only."""

    @abstractmethod
    def load_state(self, state: dict[str, Any]) -> None: ...

    @abstractmethod
    def export(self, folder: Path) -> None:
        """Write the finished checkpoint folder."""


class Optimizer:
    """AdamW, its schedule and clipping; a step whose gradient is not finite is skipped and counted.

    Args:
        slow: those of `parameters` that learn at `slow_rate` times the rate.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        config: OptimizerConfig,
        steps: int,
        *,
        slow: Iterable[nn.Parameter] = (),
        slow_rate: float = 1.0,
    ):
        self.parameters = [p for p in parameters if p.requires_grad]
        self.config, self.steps, self.skipped = config, steps, 0
        slowed = {id(p) for p in slow} if slow_rate != 1.0 else set()
        groups = []
        for scale in (1.0, slow_rate) if slowed else (1.0,):
            mine = [p for p in self.parameters if (id(p) in slowed) == (scale != 1.0)]
            for decay, params in (
                (config.weight_decay, [p for p in mine if p.ndim > 1]),
                (0.0, [p for p in mine if p.ndim <= 1]),
            ):
                groups.append({"params": params, "weight_decay": decay, "scale": scale})
        self.adam = torch.optim.AdamW(groups, lr=config.lr, betas=config.betas)

    def rate(self, step: int) -> float:
        """The learning rate of `step`."""
        c = self.config
        if step < c.warmup:
            return c.lr * (step + 1) / c.warmup
        done = min(1.0, (step - c.warmup) / max(1, self.steps - c.warmup))
        return c.lr * (c.final + (1 - c.final) * 0.5 * (1 + math.cos(math.pi * done)))

    def apply(self, loss: Tensor, step: int) -> float:
        """Backward, clip, step. Returns the gradient's norm before clipping."""
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(self.parameters, self.config.grad_clip))
        if not math.isfinite(norm):
            self.skipped += 1
            return norm
        for group in self.adam.param_groups:
            group["lr"] = self.rate(step) * group.get("scale", 1.0)
        self.adam.step()
        return norm

    def state(self) -> dict[str, Any]:
        return {"adam": self.adam.state_dict(), "skipped": self.skipped}

    def load_state(self, state: dict[str, Any]) -> None:
        self.adam.load_state_dict(state["adam"])
        self.skipped = state["skipped"]


class Average:
    """Exponential moving average of a module's parameters and float buffers, faster in the first steps."""

    def __init__(self, module: nn.Module, decay: float):
        self.decay, self.count = decay, 0
        self.values = {k: v.detach().clone() for k, v in module.state_dict().items()}

    def update(self, module: nn.Module) -> None:
        self.count += 1
        decay = min(self.decay, self.count / (self.count + 10))
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.values[name].lerp_(value.detach(), 1 - decay)
            else:
                self.values[name].copy_(value)


def seed_step(seed: int, step: int) -> np.random.Generator:
    """Seed torch and random for one step; the generator returned is for the batch."""
    generator = np.random.default_rng((seed, step))
    torch.manual_seed(int(generator.integers(2**62)))
    random.seed(int(generator.integers(2**62)))
    return generator


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The autocast context of a precision name."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def run(task: Task, config: LoopConfig, folder: Path, *, quiet: bool = False) -> None:
    """Train `task` to config.steps in `folder`, from its newest snapshot on, then export to folder/final."""
    folder.mkdir(parents=True, exist_ok=True)
    start = resume(task, folder)
    meter = Meter(config, folder, start, quiet)
    with StopRequest() as stop:
        for done in range(start + 1, config.steps + 1):
            meter.add(task.update(done - 1))
            stopping = stop.asked  # asked for once a step: a signal during what follows ends the next step
            if done % config.log_every == 0:
                meter.write(done)
            if done % config.save_every == 0 or done == config.steps or stopping:
                save_snapshot(task, done, folder, config.keep)
            if stopping:
                meter.say(f"stopped at step {done}; the same command goes on from here.")
                return
            if done % config.valid_every == 0 or done == config.steps:
                meter.valid(done, task.validate())
    task.export(folder / "final")


class StopRequest:
    """In it the first SIGTERM or SIGINT asks for a stop after the current step; a second one acts at once."""

    def __init__(self) -> None:
        self.asked = False
        self.before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python takes no handlers
            self.before = {name: signal.signal(name, self.ask) for name in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for name, handler in self.before.items():
            signal.signal(name, handler or signal.SIG_DFL)

    def ask(self, *_: object) -> None:
        self.asked = True
        self.__exit__()


class Meter:
    """Averages, JSON lines, one printed line per log interval."""

    def __init__(self, config: LoopConfig, folder: Path, start: int, quiet: bool):
        self.config, self.start, self.quiet = config, start, quiet
        self.log = folder / "log.jsonl"
        self.began = time.monotonic()
        self.sums: dict[str, list[float]] = {}

    def add(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.sums.setdefault(name, []).append(value)

    def write(self, step: int) -> None:
        means = {k: float(np.mean(v)) for k, v in self.sums.items()}
        self.sums.clear()
        pace = (time.monotonic() - self.began) / max(1, step - self.start)
        self.record({"step": step, "s_per_step": round(pace, 3), **means})
        left = pace * (self.config.steps - step) / 60
        text = " ".join(f"{k} {v:.4f}" for k, v in means.items())
        self.say(f"step {step}/{self.config.steps}  {text}  {pace:.2f} s/step, {left:.0f} min left")

    def valid(self, step: int, values: dict[str, float]) -> None:
        self.record({"step": step, "valid": values})
        self.say(f"valid {step}  " + " ".join(f"{k} {v:.4f}" for k, v in values.items()))

    def record(self, row: dict[str, Any]) -> None:
        with self.log.open("a") as file:
            file.write(json.dumps(finite(row)) + "\n")

    def say(self, text: str) -> None:
        if not self.quiet:
            print(text, flush=True)


def finite(value: Any) -> Any:
    """Plain values with null for NaN and infinity, which JSON does not know."""
    if isinstance(value, dict):
        return {name: finite(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def snapshots(folder: Path) -> list[Path]:
    """Snapshots of a run, oldest first."""
    return sorted(folder.glob("step-*.pt"))


def save_snapshot(task: Task, step: int, folder: Path, keep: int) -> None:
    """Write step-N.pt under a temporary name, rename, drop all but the newest `keep`."""
    path = folder / f"step-{step:08d}.pt"
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        torch.save({"step": step, "task": task.state()}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    for old in [*snapshots(folder)[:-keep], *folder.glob("step-*.tmp")]:  # a .tmp was cut off half-way
        old.unlink()


def resume(task: Task, folder: Path) -> int:
    """Load the newest snapshot into `task` and return its step; 0 when there is none."""
    found = snapshots(folder)
    if not found:
        return 0
    state = torch.load(found[-1], map_location="cpu", weights_only=True)
    task.load_state(state["task"])
    return int(state["step"])
