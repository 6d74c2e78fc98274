"""The 1-d ConvNeXt block (Liu et al. 2022; over time as in Vocos, Siuzdak 2024, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lip2speech.modules.conv import StreamingConv1d


class ConvNeXtBlock(nn.Module):
    """x + gamma * mlp(norm(depthwise(x))).

    Args:
        width: C.
        hidden: channels inside the mlp.
        kernel_size: of the depthwise convolution.
        gamma: initial value of the layer scale, usually 1 / the number of blocks.
        causal: whether the depthwise convolution is.
        epsilon: of the norm.

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
        return x + self._pointwise(self.depthwise(x))

    def step(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, C, T), state -> (B, C, T), state."""
        y, new_state = self.depthwise.step(x, state)
        return x + self._pointwise(y), new_state

    def _pointwise(self, x: Tensor) -> Tensor:
        """Norm and mlp, frame by frame: (B, C, T) -> (B, C, T)."""
        out: Tensor = (self.gamma * self.mlp(self.norm(x.transpose(1, 2)))).transpose(1, 2)
        return out
