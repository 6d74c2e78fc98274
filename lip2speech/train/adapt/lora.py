"""Low-rank adapters (LoRA, Hu et al. 2021, section 4.1) that are merged into the weights after training.

The weight W of a linear layer becomes W + B A, with B A of low rank and B zero at first. Biases are trained
too (BitFit, Ben Zaken et al. 2022). After merging, the model has the tensors it had before.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class LoRALinear(nn.Module):
    """Parametrization of a linear layer's weight: W (O, I) -> W + lora_B (O, rank) lora_A (rank, I)."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.lora_B = nn.Parameter(torch.zeros(rows, rank))
        self.lora_A = nn.Parameter(torch.randn(rank, columns) / columns**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        """The adapted weight (O, I)."""
        return weight + self.lora_B @ self.lora_A


def add_adapters(model: nn.Module, target_modules: Sequence[str], rank: int) -> list[nn.Parameter]:
    """Freeze `model` except for adapters and biases of some linear layers.

    Args:
        model: changed in place.
        target_modules: suffixes of the names of the adapted linear layers.
        rank: of the adapters.
    Returns:
        the trainable parameters.
    Raises:
        ValueError: the rank is below 1, or a suffix matches no linear layer.
    """
    if rank < 1:
        raise ValueError(f"lora_rank must be 1 or more, got {rank}.")
    linears = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    for suffix in target_modules:
        if not any(name.endswith(suffix) for name in linears):
            raise ValueError(
                f"lora_target_modules: no linear layer ends in {suffix!r}; there are {', '.join(linears)}."
            )
    model.requires_grad_(False)
    for name, linear in linears.items():
        if name.endswith(tuple(target_modules)):
            adapter = LoRALinear(linear.weight, rank).to(linear.weight.device)
            parametrize.register_parametrization(linear, "weight", adapter)
            if linear.bias is not None:
                linear.bias.requires_grad_(True)
    return [p for p in model.parameters() if p.requires_grad]


def merge_adapters(model: nn.Module) -> None:
    """Add every adapter to its weight and remove it."""
    for module in list(model.modules()):
        if isinstance(module, nn.Linear) and parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
