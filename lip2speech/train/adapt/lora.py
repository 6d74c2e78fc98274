"""Low-rank adapters: a frozen model learns a little, and nothing is left of them afterwards.

Hu et al. 2021, "LoRA", section 4.1: a linear layer's weight W becomes W + B A with B A of small rank, B zero
at first. Its bias learns too (BitFit, Ben Zaken et al. 2022). Merging writes the sum where W was: the model
has the tensors it had, and whatever loads the one loads the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class LoRALinear(nn.Module):
    """W (O, I) -> W + up (O, rank) down (rank, I); nothing at first."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.up = nn.Parameter(torch.zeros(rows, rank))
        self.down = nn.Parameter(torch.randn(rank, columns) / columns**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.up @ self.down


def attach(model: nn.Module, layers: Sequence[str], rank: int) -> list[nn.Parameter]:
    """Freeze `model` but for adapters at the linear layers whose names end in one of `layers`; what learns.

    Raises:
        ValueError: the rank is below 1, or a name fits no linear layer.
    """
    if rank < 1:
        raise ValueError(f"rank must be 1 or more, got {rank}.")
    found = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    for ending in layers:
        if not any(name.endswith(ending) for name in found):
            raise ValueError(f"no linear layer's name ends in {ending!r}; there are {', '.join(found)}.")
    model.requires_grad_(False)
    for name, linear in found.items():
        if name.endswith(tuple(layers)):
            adapter = LoRALinear(linear.weight, rank).to(linear.weight.device)
            parametrize.register_parametrization(linear, "weight", adapter)
            if linear.bias is not None:
                linear.bias.requires_grad_(True)
    return [p for p in model.parameters() if p.requires_grad]


def merge(model: nn.Module) -> None:
    """Put every adapter into the weight it belongs to."""
    for module in list(model.modules()):
        if isinstance(module, nn.Linear) and parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
