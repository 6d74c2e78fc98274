"""Layers shared by the convolutional heads: residual convolutions over time and sub-pixel upsampling."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from lip2speech.modules.conv import with_context


class ConvBlock(nn.Module):
    """Pre-norm residual convolution over time; padded steps are zeros to it, like what follows a clip.

    Shape:
        forward: x (B, T, C), mask (B, T, 1) with 1 = valid, 0 = padding -> (B, T, C)
        step: x (B, T, C), state (B, C, kernel_size - 1) or None -> (B, T, C), state; causal blocks only
    """

    def __init__(self, channels: int, kernel_size: int, dropout: float, *, causal: bool = False):
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, so that every step has a center, got {kernel_size}.")
        self.norm, self.causal = nn.LayerNorm(channels), causal
        self.conv = nn.Conv1d(channels, channels, kernel_size, padding=0 if causal else kernel_size // 2)
        self.out = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, C), (B, T, 1) -> (B, T, C)."""
        y = (self.norm(x) * mask).transpose(1, 2)
        if self.causal:
            y, _ = with_context(y, None, self.conv.kernel_size[0] - 1)
        y = F.gelu(self.conv(y)).transpose(1, 2)
        out: Tensor = x + self.dropout(self.out(y))
        return out

    def step(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Next steps: (B, T, C), state -> (B, T, C), state."""
        y, state = with_context(self.norm(x).transpose(1, 2), state, self.conv.kernel_size[0] - 1)
        return x + self.out(F.gelu(self.conv(y)).transpose(1, 2)), state


class SubPixelUpsample(nn.Module):
    """(B, T, C) -> (B, factor * T, C_out): one linear layer whose output is split into `factor` steps.

    Sub-pixel convolution (Shi et al. 2016) with a kernel of 1.
    """

    def __init__(self, channels: int, out_channels: int, factor: int):
        super().__init__()
        self.factor = factor
        self.linear = nn.Linear(channels, factor * out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, factor * T, C_out)."""
        batch, steps, _ = x.shape
        out: Tensor = self.linear(x).reshape(batch, steps * self.factor, -1)
        return out
