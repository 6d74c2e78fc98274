"""`--dry-run`: what a recipe will take, and two updates on made-up data of the true shape.

Memory is that of this process: weights, gradients and AdamW's two moments are counted; activations are what
autograd kept for the backward pass of one part of an update, measured on the made-up batch. What kernels need
meanwhile and what the data takes is not in it.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import Module

from lip2speech.constants import VIDEO_FPS
from lip2speech.data.dataset import read_clips
from lip2speech.train.core.device import choose_device
from lip2speech.train.core.dummy_data import DummyData
from lip2speech.train.core.micro_batch import parts
from lip2speech.train.core.sampler import BucketBatchSampler
from lip2speech.train.core.trainer import TrainerConfig, TrainingTask

UPDATES = 2
MIB = 2**20


def rehearse(kind: type[TrainingTask], config: Any) -> list[str]:
    """Lines about the recipe `config` of a task: sizes, memory, the corpus, and how two updates went."""
    with tempfile.TemporaryDirectory() as folder:
        made = DummyData(Path(folder))
        device = choose_device(config.loop.device)
        task = kind(kind.stand_ins(config, made))  # type: ignore[call-arg]
        task.place(device)
        kept, losses, seconds = updates(task, config.loop)
        held = memory(task, kept) + in_use(device)
    lines = [f"device: {device}"]
    lines += [f"{name}: {count(module):,} parameters" for name, module in task.networks().items()]
    lines += [f"made up, for it is not there: {name}" for name in made.made]
    return [
        *lines,
        held,
        *corpus(config),
        f"{UPDATES} updates on made-up clips: {losses}; {seconds:.1f} s each",
    ]


def updates(task: TrainingTask, config: TrainerConfig) -> tuple[int, str, float]:
    """Bytes kept for a backward pass, losses, seconds of an update, the first left out (it warms up)."""
    losses = []
    for step in range(UPDATES):
        began = time.monotonic()
        for part in parts(config.grad_accum_steps):
            with counted() as kept:
                logs = task.update(step, part)
        losses.append(next(f"{name} {logs[name]:.3f}" for name in ("loss", *logs) if name in logs))
    return sum(kept.values()), ", ".join(losses), time.monotonic() - began


@contextmanager
def counted() -> Iterator[dict[int, int]]:
    """Bytes of each block of memory that autograd keeps meanwhile; weights are not counted again."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not (tensor.is_leaf and tensor.requires_grad):
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        yield kept


def count(module: Module) -> int:
    """How many numbers a module learns, those that rest included."""
    return sum(p.numel() for p in module.parameters())


def memory(task: TrainingTask, kept: int) -> str:
    """A line: weights, gradients, AdamW's moments, the average, activations."""
    weights = (
        sum(p.numel() * p.element_size() for m in task.networks().values() for p in m.parameters()) / MIB
    )
    total = 5 * weights + kept / MIB
    return (
        f"memory: {weights:.0f} MiB weights + {weights:.0f} gradients + {2 * weights:.0f} AdamW + "
        f"{weights:.0f} average + about {kept / MIB:.0f} activations = {total:.0f} MiB"
    )


def in_use(device: torch.device) -> str:
    """On a GPU the end of that line: the most that PyTorch had in use there so far."""
    if device.type != "cuda":
        return ""
    return f"; at most {torch.cuda.max_memory_allocated(device) / MIB:.0f} MiB were in use on the GPU"


def corpus(config: Any) -> list[str]:
    """Lines: how many clips there are to learn from, and how many updates an epoch takes."""
    data = config if hasattr(config, "folders") else getattr(config, "data", None)
    folders = getattr(data, "folders", ())
    lines = [f"no clips yet: {folder}" for folder in folders if not Path(folder, "index.jsonl").is_file()]
    if lines or not folders:
        return lines
    clips = read_clips(folders, "train")
    hours = sum(clip.n_frames for clip in clips) / VIDEO_FPS / 3600
    batches = math.ceil(len(clips) / config.trainer.batch_size)
    if budget := getattr(config, "max_frames_per_batch", 0):
        lengths = [clip.n_frames for clip in clips]
        if longest := getattr(config, "max_frames", 0):  # of a longer clip the task takes a stretch
            lengths = [min(frames, longest) for frames in lengths]
        batches = BucketBatchSampler(lengths, budget, config.loop.seed).per_epoch
    steps = batches / config.loop.accumulate
    return [
        f"corpus: {len(clips)} training clips, {hours:.1f} h; one process draws as many in {steps:.0f} "
        f"updates, {config.loop.steps} are {config.loop.steps / steps:.1f} such epochs"
    ]
