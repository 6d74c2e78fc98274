"""AdamW with a learning-rate schedule, gradient clipping, accumulation and averaging over processes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lip2speech.train.core.config import OptimizerConfig
from lip2speech.train.core.micro_batch import FULL_BATCH, MicroBatch
from lip2speech.utils import distributed


class OptimizerWithSchedule:
    """AdamW with warm-up, cosine decay and clipping; steps with a non-finite gradient are skipped and
    counted.

    Gradients are averaged over the micro-batches of all processes, which therefore clip, skip and step alike.
    Vectors (biases, norms) have no weight decay.

    Args:
        steps: length of the schedule.
        scaled_parameters: the subset of `parameters` whose learning rate is multiplied by `lr_scale`.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        config: OptimizerConfig,
        steps: int,
        *,
        scaled_parameters: Iterable[nn.Parameter] = (),
        lr_scale: float = 1.0,
    ):
        self.parameters = [p for p in parameters if p.requires_grad]
        self.config, self.steps, self.skipped_steps = config, steps, 0
        scaled = {id(p) for p in scaled_parameters} if lr_scale != 1.0 else set()
        groups = []
        for scale in (1.0, lr_scale) if scaled else (1.0,):
            members = [p for p in self.parameters if (id(p) in scaled) == (scale != 1.0)]
            for decay, params in (
                (config.weight_decay, [p for p in members if p.ndim > 1]),
                (0.0, [p for p in members if p.ndim <= 1]),
            ):
                groups.append({"params": params, "weight_decay": decay, "lr_scale": scale})
        self.adamw = torch.optim.AdamW(groups, lr=config.lr, betas=config.betas)

    def lr_at(self, step: int) -> float:
        """The learning rate of `step`, before any `lr_scale`."""
        c = self.config
        if step < c.warmup_steps:
            return c.lr * (step + 1) / c.warmup_steps
        progress = min(1.0, (step - c.warmup_steps) / max(1, self.steps - c.warmup_steps))
        return c.lr * (c.min_lr_ratio + (1 - c.min_lr_ratio) * 0.5 * (1 + math.cos(math.pi * progress)))

    def step(self, loss: Tensor, step: int, micro_batch: MicroBatch = FULL_BATCH) -> float:
        """Backward; after the last micro-batch also clip and update the weights.

        Returns:
            the gradient norm before clipping; NaN before the last micro-batch.
        """
        if micro_batch.first:
            self.adamw.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        if not micro_batch.last:
            return math.nan
        average_gradients(self.parameters, micro_batch.count)
        norm = float(nn.utils.clip_grad_norm_(self.parameters, self.config.grad_clip))
        if not math.isfinite(norm):
            self.skipped_steps += 1
            return norm
        for group in self.adamw.param_groups:
            group["lr"] = self.lr_at(step) * group.get("lr_scale", 1.0)
        self.adamw.step()
        return norm

    def state_dict(self) -> dict[str, Any]:
        """State of AdamW and the number of skipped steps."""
        return {"adamw": self.adamw.state_dict(), "skipped_steps": self.skipped_steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.adamw.load_state_dict(state["adamw"])
        self.skipped_steps = state["skipped_steps"]


def average_gradients(parameters: Iterable[nn.Parameter], count: int) -> None:
    """Turn gradients accumulated in this process into the mean over `count` micro-batches of all processes.

    A parameter that no process used keeps no gradient; where only some used it, the others count as 0.
    """
    if count == 1:
        return
    trainable = [p for p in parameters if p.requires_grad]
    used = torch.tensor([float(p.grad is not None) for p in trainable])
    distributed.all_reduce_tensors([used])
    trainable = [p for p, n_ranks in zip(trainable, used.tolist(), strict=True) if n_ranks]
    for p in trainable:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    gradients = [p.grad for p in trainable if p.grad is not None]
    distributed.all_reduce_tensors(gradients)
    for gradient in gradients:
        gradient.div_(count)
