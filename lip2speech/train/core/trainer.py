"""The training loop every task shares: schedule, resume, log, progress, snapshots; one process or many.

A task owns its modules and data and does one update, part by part; the loop counts. Every step seeds its
random numbers from (seed, step, part), so a resumed run draws the very batches and dropouts of an
uninterrupted one, and many processes draw those of one that accumulates as many parts.
"""

from __future__ import annotations

import math
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lip2speech.constants import SAMPLE_RATE
from lip2speech.train.core import distributed
from lip2speech.train.core.checkpointing import resume, save_snapshot
from lip2speech.train.core.device import CPU, Device, choose_device, moved
from lip2speech.train.core.dummy_data import DummyData
from lip2speech.train.core.logging import MetricLogger, over_parts
from lip2speech.train.core.micro_batch import FULL_BATCH, MicroBatch, parts

Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True)
class TrainerConfig:
    """How long, how often, how exactly, where. `precision` bf16 means autocast; weights stay float32.

    An update sees batch_size items at a time, `accumulate` times in each process. sample_every: how often
    held-out samples are written, 0 for never; tensorboard: curves and samples beside log.jsonl. device: auto
    is a GPU where there is one; under torchrun each process takes the one of its number.
    """

    steps: int = 50_000
    batch_size: int = 16
    grad_accum_steps: int = 1
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    device: Device = "auto"
    log_every: int = 20
    valid_every: int = 500
    save_every: int = 500
    keep_last_n_checkpoints: int = 2
    sample_every: int = 0
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for name in (
            "batch_size",
            "grad_accum_steps",
            "log_every",
            "valid_every",
            "save_every",
            "keep_last_n_checkpoints",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}.")
        if self.sample_every < 0:
            raise ValueError(f"sample_every must be 0 (never) or more, got {self.sample_every}.")


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with a linear warm-up, then a cosine to `final` of the peak."""

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    warmup_steps: int = 200
    min_lr_ratio: float = 0.02
    grad_clip: float = 1.0


class TrainingTask(ABC):
    """What is trained: state, one update, a validation.

    It is made on the CPU and placed by the loop; updates put their batches `here`, validation puts there what
    it makes anew.
    """

    sample_rate = SAMPLE_RATE
    """Of what `samples` gives."""
    device = CPU
    """Where its networks are."""

    @abstractmethod
    def update(self, step: int, part: MicroBatch = FULL_BATCH) -> dict[str, float]:
        """One part of one training step; the numbers it returns are logged."""

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

    def samples(self) -> dict[str, Tensor]:
        """Sounds (T_a,) of one held-out clip, always the same, as the model now makes them; by name."""
        return {}

    @classmethod
    def stand_ins(cls, config: Any, made: DummyData) -> Any:
        """The recipe on made-up clips, and with made-up teachers where there are none yet."""
        return replace(config, folders=(made.clips(),))

    def networks(self) -> dict[str, nn.Module]:
        """What learns, by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, nn.Module)}

    def place(self, device: torch.device) -> None:
        """Networks, losses and averages go to `device`; an optimiser that has not begun follows them."""
        self.device = device
        for value in (*self.networks().values(), *vars(self).values()):
            if isinstance(value, nn.Module):
                value.to(device)
            elif isinstance(value, EMA):
                value.values = moved(value.values, device)

    def here(self, batch: Any) -> Any:
        """A batch, or whatever holds tensors, where the networks are."""
        return moved(batch, self.device)


class OptimizerWithSchedule:
    """AdamW, its schedule and clipping; a step whose gradient is not finite is skipped and counted.

    Gradients are averaged over the parts of the update in all processes, which so clip, skip and step alike.

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
        if step < c.warmup_steps:
            return c.lr * (step + 1) / c.warmup_steps
        done = min(1.0, (step - c.warmup_steps) / max(1, self.steps - c.warmup_steps))
        return c.lr * (c.min_lr_ratio + (1 - c.min_lr_ratio) * 0.5 * (1 + math.cos(math.pi * done)))

    def apply(self, loss: Tensor, step: int, part: MicroBatch = FULL_BATCH) -> float:
        """Backward; with the last part clip and step. The gradient's norm before clipping, NaN until then."""
        if part.first:
            self.adam.zero_grad(set_to_none=True)
        loss.backward()
        if not part.last:
            return math.nan
        average_gradients(self.parameters, part.count)
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


class EMA:
    """Exponential moving average of a module's parameters and float buffers, faster in the first steps.

    What batch norms have counted, each process for itself, is averaged over processes first.
    """

    def __init__(self, module: nn.Module, decay: float):
        self.decay, self.count = decay, 0
        self.values = {k: v.detach().clone() for k, v in module.state_dict().items()}

    def update(self, module: nn.Module, part: MicroBatch = FULL_BATCH) -> None:
        """Follow the module, after the last part of an update."""
        if not part.last:
            return
        average_statistics(module)
        self.count += 1
        decay = min(self.decay, self.count / (self.count + 10))
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.values[name].lerp_(value.detach(), 1 - decay)
            else:
                self.values[name].copy_(value)

    def given_to(self, module: Net) -> Net:
        """A module of the same shape with the averaged values, where they are, in eval mode."""
        module.to(next(iter(self.values.values())).device).load_state_dict(self.values)
        return module.eval()


def average_gradients(parameters: Iterable[nn.Parameter], count: int) -> None:
    """What backward summed over this process' parts becomes the mean over `count` parts of all processes.

    A parameter that no process used keeps no gradient; one that some did not use counts as 0 there.
    """
    if count == 1:
        return
    learning = [p for p in parameters if p.requires_grad]
    used = torch.tensor([float(p.grad is not None) for p in learning])
    distributed.sum_tensors([used])
    learning = [p for p, some in zip(learning, used.tolist(), strict=True) if some]
    for p in learning:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    gradients = [p.grad for p in learning if p.grad is not None]
    distributed.sum_tensors(gradients)
    for gradient in gradients:
        gradient.div_(count)


def average_statistics(module: nn.Module) -> None:
    """Running mean and variance of batch norms become their means over processes."""
    if distributed.world() == 1:
        return
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]
    running = [x for m in norms for x in (m.running_mean, m.running_var) if x is not None]
    distributed.sum_tensors(running)
    for x in running:
        x.div_(distributed.world())


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The autocast context of a precision name."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def run(
    task: TrainingTask,
    config: TrainerConfig,
    folder: Path,
    *,
    quiet: bool = False,
    say: Callable[[str], None] | None = None,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Train `task` to config.steps in `folder`, from its newest snapshot on, then export to folder/final.

    say takes the printed lines, progress the share that is done. Of many processes, which all see `folder`,
    the first one validates and writes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    task.place(choose_device(config.device))
    start = resume(task, folder)
    check_start(start, folder)
    meter = MetricLogger(config, folder, start, quiet=quiet, say=say, progress=progress)
    stopping = False
    with GracefulStop() as stop:
        for done in range(start + 1, config.steps + 1):
            meter.add(
                done, over_parts([task.update(done - 1, part) for part in parts(config.grad_accum_steps)])
            )
            # asked for once a step: a signal during what follows ends the next step
            stopping = distributed.any_of(stop.asked)
            if distributed.rank() == 0:
                report(task, meter, done, stopping)
            if stopping:
                break
    if distributed.rank() == 0 and not stopping:
        task.export(folder / "final")
    meter.close()
    distributed.wait()


def report(task: TrainingTask, meter: MetricLogger, done: int, stopping: bool) -> None:
    """What is due after step `done`: a line, a snapshot, held-out figures, samples."""
    config = meter.config
    if done % config.log_every == 0:
        meter.write(done)
    last = done == config.steps
    if done % config.save_every == 0 or last or stopping:
        save_snapshot(task, done, meter.folder, config.keep_last_n_checkpoints)
    if stopping:
        meter.say(f"stopped at step {done}; the same command goes on from here.")
        return
    if done % config.valid_every == 0 or last:
        meter.valid(done, task.validate())
    if config.sample_every and (done % config.sample_every == 0 or last):
        meter.samples(done, moved(task.samples(), CPU), task.sample_rate)


def check_start(start: int, folder: Path) -> None:
    """ValueError: the processes found other snapshots, so they do not see one folder."""
    if distributed.any_of(distributed.sum_of(start) != start * distributed.world()):
        raise ValueError(
            f"{folder}: this process goes on from step {start}, others from another; give a folder that all "
            "processes see."
        )


class GracefulStop:
    """In it the first SIGTERM or SIGINT asks for a stop after the current step; a second one acts at once."""

    def __init__(self) -> None:
        self.asked = False
        self.before: dict[int, Any] = {}

    def __enter__(self) -> GracefulStop:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python takes no handlers
            self.before = {name: signal.signal(name, self.ask) for name in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for name, handler in self.before.items():
            signal.signal(name, handler or signal.SIG_DFL)

    def ask(self, *_: object) -> None:
        self.asked = True
        self.__exit__()
