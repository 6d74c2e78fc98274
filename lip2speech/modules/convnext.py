"""The ConvNeXt block over time (Liu et al. 2022; in one dimension as in Vocos, Siuzdak 2024, section 3.2).

It does not know: what its channels mean.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lip2speech.modules.conv import StreamingConv1d


class ConvNeXtBlock(nn.Module):
    """x + gamma * mlp(norm(depthwise(x))), all causal if the depthwise convolution is.

    Args:
        hidden: channels inside the mlp.
        gamma: where the scale of what is added begins, usually 1 / the number of blocks.
    Shape:
        forward, step: (B, C, T) -> (B, C, T)
    """

    def __init__(
        self,
        width: int,
        *,
        hidden: int,
        kernel_size: int = 7,
        gamma: float,
        causal: bool,
        epsilon: float = 1e-5,
    ):
        super().__init__()
        self.depthwise = StreamingConv1d(width, width, kernel_size, groups=width, causal=causal)
        self.norm = nn.LayerNorm(width, eps=epsilon)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.gamma = nn.Parameter(torch.full((width,), gamma))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        return x + self._mix(self.depthwise(x))

    def step(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, C, T), state -> (B, C, T), state."""
        y, new_state = self.depthwise.step(x, state)
        return x + self._mix(y), new_state

    def _mix(self, x: Tensor) -> Tensor:
        """Every frame by itself: (B, C, T) -> (B, C, T)."""
        return (self.gamma * self.mlp(self.norm(x.transpose(1, 2)))).transpose(1, 2)
