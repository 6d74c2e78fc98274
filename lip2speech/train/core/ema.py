"""Exponential moving average of a module's weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lip2speech.train.core.device import move_to
from lip2speech.train.core.micro_batch import FULL_BATCH, MicroBatch
from lip2speech.utils import distributed

Module = TypeVar("Module", bound=nn.Module)


class EMA:
    """Exponential moving average of a module's parameters and float buffers.

    The decay warms up as n / (n + 10). Integer buffers are copied. Batch-norm statistics, which each process
    tracks on its own micro-batches, are averaged over processes first.
    """

    def __init__(self, module: nn.Module, decay: float):
        self.decay, self.n_updates = decay, 0
        self.shadow = {name: value.detach().clone() for name, value in module.state_dict().items()}

    def update(self, module: nn.Module, micro_batch: MicroBatch = FULL_BATCH) -> None:
        """Follow the module; only after the last micro-batch of a step."""
        if not micro_batch.last:
            return
        average_batch_norm_statistics(module)
        self.n_updates += 1
        decay = min(self.decay, self.n_updates / (self.n_updates + 10))
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.shadow[name].lerp_(value.detach(), 1 - decay)
            else:
                self.shadow[name].copy_(value)

    def copy_to(self, module: Module) -> Module:
        """Load the averaged weights into a module of the same shape, on their device and in eval mode."""
        module.to(next(iter(self.shadow.values())).device).load_state_dict(self.shadow)
        return module.eval()

    def to(self, device: torch.device) -> None:
        """Move the averaged weights to a device."""
        self.shadow = move_to(self.shadow, device)

    def state_dict(self) -> dict[str, Any]:
        """Averaged weights and the number of updates."""
        return {"shadow": self.shadow, "n_updates": self.n_updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.shadow, self.n_updates = state["shadow"], state["n_updates"]


def average_batch_norm_statistics(module: nn.Module) -> None:
    """Replace the running mean and variance of all batch norms by their means over processes."""
    if distributed.world_size() == 1:
        return
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]
    statistics = [x for m in norms for x in (m.running_mean, m.running_var) if x is not None]
    distributed.all_reduce_tensors(statistics)
    for x in statistics:
        x.div_(distributed.world_size())
