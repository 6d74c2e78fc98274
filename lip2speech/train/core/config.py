"""Configs shared by all training tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lip2speech.train.core.device import Device


@dataclass(frozen=True)
class TrainerConfig:
    """Length, batch size, precision, device and intervals of a training run.

    Attributes:
        steps: optimizer steps in total.
        batch_size: items of one micro-batch.
        grad_accum_steps: micro-batches that each process accumulates for one step.
        precision: bf16 runs the forward pass under autocast; weights stay float32.
        device: `auto` takes a GPU if there is one; under torchrun each process takes the GPU of its local
            rank.
        sample_every: interval at which held-out audio samples are written, 0 for never.
        tensorboard: also write metrics and audio samples to TensorBoard.
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
    """AdamW with linear warm-up, then a cosine decay to `min_lr_ratio` of the peak rate."""

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    warmup_steps: int = 200
    min_lr_ratio: float = 0.02
    grad_clip: float = 1.0
