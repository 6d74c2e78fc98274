"""`--dry-run`: model and memory sizes of a training config, and two steps on dummy data of the real shapes.

Memory is that of one process: weights, gradients, AdamW's two moments and EMA weights are computed;
activations are what autograd saved for the backward pass of one micro-batch of dummy data. Workspace of
kernels and memory of the dataset are not included.
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
from lip2speech.train.core.config import TrainerConfig
from lip2speech.train.core.device import training_device
from lip2speech.train.core.dummy_data import DummyData
from lip2speech.train.core.micro_batch import micro_batches
from lip2speech.train.core.sampler import BucketBatchSampler
from lip2speech.train.core.task import TrainingTask

STEPS = 2
MIB = 2**20


def dry_run(task_class: type[TrainingTask], config: Any) -> list[str]:
    """Try a training config on dummy data; returns lines on sizes, memory, the dataset and the two steps."""
    with tempfile.TemporaryDirectory() as folder:
        dummy = DummyData(Path(folder))
        device = training_device(config.trainer.device)
        # every task takes its config
        task = task_class(task_class.dummy_config(config, dummy))  # type: ignore[call-arg]
        task.to(device)
        activation_bytes, losses, seconds = run_steps(task, config.trainer)
        memory = memory_summary(task, activation_bytes) + gpu_peak(device)
    lines = [f"device: {device}"]
    lines += [f"{name}: {n_params(module):,} parameters" for name, module in task.networks().items()]
    lines += [f"dummy, because it does not exist: {name}" for name in dummy.missing]
    return [
        *lines,
        memory,
        *data_summary(config),
        f"{STEPS} steps on dummy clips: {losses}; {seconds:.1f} s/step",
    ]


def run_steps(task: TrainingTask, config: TrainerConfig) -> tuple[int, str, float]:
    """Bytes saved for one backward pass, the losses, and the seconds of the last step."""
    losses = []
    for step in range(STEPS):
        start = time.monotonic()
        for micro_batch in micro_batches(config.grad_accum_steps):
            with track_activations() as saved:
                logs = task.training_step(step, micro_batch)
        losses.append(next(f"{name} {logs[name]:.3f}" for name in ("loss", *logs) if name in logs))
    return sum(saved.values()), ", ".join(losses), time.monotonic() - start


@contextmanager
def track_activations() -> Iterator[dict[int, int]]:
    """Bytes of each storage that autograd saves within the context, weights excluded."""
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if not (tensor.is_leaf and tensor.requires_grad):
            storage = tensor.untyped_storage()
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        yield saved


def n_params(module: Module) -> int:
    """Number of parameters, frozen ones included."""
    return sum(p.numel() for p in module.parameters())


def memory_summary(task: TrainingTask, activation_bytes: int) -> str:
    """One line: weights, gradients, AdamW's moments, EMA weights, activations."""
    weights = (
        sum(p.numel() * p.element_size() for m in task.networks().values() for p in m.parameters()) / MIB
    )
    total = 5 * weights + activation_bytes / MIB
    return (
        f"memory: {weights:.0f} MiB weights + {weights:.0f} gradients + {2 * weights:.0f} AdamW + "
        f"{weights:.0f} EMA + about {activation_bytes / MIB:.0f} activations = {total:.0f} MiB"
    )


def gpu_peak(device: torch.device) -> str:
    """On a GPU the end of that line: PyTorch's peak memory so far."""
    if device.type != "cuda":
        return ""
    return f"; GPU peak {torch.cuda.max_memory_allocated(device) / MIB:.0f} MiB"


def data_summary(config: Any) -> list[str]:
    """Lines on the size of the training set and the number of epochs."""
    folders = getattr(config, "train_data", ()) or getattr(getattr(config, "data", None), "prepared_dirs", ())
    lines = [f"no clips yet: {folder}" for folder in folders if not Path(folder, "index.jsonl").is_file()]
    if lines or not folders:
        return lines
    clips = read_clips(folders, "train")
    hours = sum(clip.n_frames for clip in clips) / VIDEO_FPS / 3600
    batches = math.ceil(len(clips) / config.trainer.batch_size)
    if budget := getattr(config, "max_frames_per_batch", 0):
        lengths = [clip.n_frames for clip in clips]
        if longest := getattr(config, "max_frames", 0):  # the task crops longer clips
            lengths = [min(frames, longest) for frames in lengths]
        batches = BucketBatchSampler(lengths, budget, config.trainer.seed).batches_per_epoch
    steps = batches / config.trainer.grad_accum_steps
    return [
        f"data: {len(clips)} training clips, {hours:.1f} h; with one process an epoch is {steps:.0f} steps, "
        f"{config.trainer.steps} steps are {config.trainer.steps / steps:.1f} epochs"
    ]
