"""Inputs of the loss tests."""

import torch
from torch import Tensor


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def valid_mask(lengths: list[int], steps: int) -> Tensor:
    """(B, 1, steps), 1 at the valid steps of each clip."""
    return (torch.arange(steps)[None] < torch.tensor(lengths)[:, None]).float().unsqueeze(1)
