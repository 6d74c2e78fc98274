"""The multi-period discriminator of HiFi-GAN (Kong, Kim, Bae 2020, section 2.3), for training only.

A wave is written line by line into rows of `period` samples; what returns every `period` samples then stands
in one column, and convolutions along the columns alone see it. Each period has a judge of its own, and none
divides another, so that no two judges see the same samples.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from lip2speech.discriminators.msstftd import MultiDiscriminator, conv2d

SLOPE = 0.1  # of the leaky ReLUs, as in the generator
KERNEL, STRIDE, GROWTH = 5, 3, 4
"""Along the columns; by how much the channels grow with each stride."""


@dataclass(frozen=True)
class MPDConfig:
    """Sizes of the multi-period discriminator: filters of its first layer, strided layers; the paper's."""

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    filters: int = 32
    max_filters: int = 1024
    layers: int = 4

    def __post_init__(self) -> None:
        if not self.periods or min(self.periods) < 2 or min(self.filters, self.max_filters, self.layers) < 1:
            raise ValueError(
                "periods must be some of 2 or more, filters, max_filters and layers 1 or more, got "
                f"{self.periods}, {self.filters}, {self.max_filters} and {self.layers}."
            )


class PeriodSubDiscriminator(nn.Module):
    """One period p. wav (B, 1, T_a) -> logits (B, 1, T, p), list of feature maps (B, C_i, T_i, p)."""

    def __init__(self, config: MPDConfig, period: int):
        super().__init__()
        self.period = period
        convs, inp, width = [], 1, config.filters
        for _ in range(config.layers):
            convs.append(conv2d(inp, width, (KERNEL, 1), stride=(STRIDE, 1)))
            inp, width = width, min(GROWTH * width, config.max_filters)
        convs.append(conv2d(inp, inp, (KERNEL, 1)))
        self.convs = nn.ModuleList(convs)
        self.post = conv2d(inp, 1, (3, 1))

    def forward(self, wav: Tensor) -> tuple[Tensor, list[Tensor]]:
        x = columns(wav, self.period)
        maps = []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), SLOPE)
            maps.append(x)
        return self.post(x), maps


def columns(wav: Tensor, period: int) -> Tensor:
    """(B, 1, T_a) -> (B, 1, T_a / period, period), row by row; the end is mirrored to fill the last row."""
    missing = -wav.shape[-1] % period
    return F.pad(wav, (0, missing), mode="reflect").unflatten(-1, (-1, period))


def period_discriminators(config: MPDConfig) -> MultiDiscriminator:
    """A judge for each period."""
    return MultiDiscriminator(PeriodSubDiscriminator(config, period) for period in config.periods)
