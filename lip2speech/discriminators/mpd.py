"""Multi-period discriminator of HiFi-GAN (Kong, Kim and Bae 2020, section 2.3).

The waveform is folded into rows of `period` samples, so samples `period` apart share a column, and
convolutions run along the columns only. The periods are coprime, so the discriminators see different samples.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from lip2speech.discriminators.base import MultiDiscriminator, norm_conv2d

LEAKY_SLOPE = 0.1  # as in the generator
KERNEL_SIZE, STRIDE = 5, 3  # along the columns
GROWTH = 4  # of the channels with each stride


@dataclass(frozen=True)
class MPDConfig:
    """Sizes of the multi-period discriminator (the paper's): filters of its first layer, strided layers."""

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    filters: int = 32
    max_filters: int = 1024
    layers: int = 4

    def __post_init__(self) -> None:
        if not self.periods or min(self.periods) < 2 or min(self.filters, self.max_filters, self.layers) < 1:
            raise ValueError(
                "periods must be 2 or more, at least one; filters, max_filters and layers 1 or more, got "
                f"{self.periods}, {self.filters}, {self.max_filters} and {self.layers}."
            )


class PeriodDiscriminator(nn.Module):
    """Discriminator of one period p.

    Shape:
        wav (B, 1, T_a) -> logits (B, 1, T, p), list of feature maps (B, C_i, T_i, p)
    """

    def __init__(self, config: MPDConfig, period: int):
        super().__init__()
        self.period = period
        convs, in_channels, width = [], 1, config.filters
        for _ in range(config.layers):
            convs.append(norm_conv2d(in_channels, width, (KERNEL_SIZE, 1), stride=(STRIDE, 1)))
            in_channels, width = width, min(GROWTH * width, config.max_filters)
        convs.append(norm_conv2d(in_channels, in_channels, (KERNEL_SIZE, 1)))
        self.convs = nn.ModuleList(convs)
        self.conv_post = norm_conv2d(in_channels, 1, (3, 1))

    def forward(self, wav: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits and feature maps."""
        x = fold_by_period(wav, self.period)
        features = []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), LEAKY_SLOPE)
            features.append(x)
        return self.conv_post(x), features


class MultiPeriodDiscriminator(MultiDiscriminator):
    """One discriminator per period."""

    def __init__(self, config: MPDConfig):
        super().__init__(PeriodDiscriminator(config, period) for period in config.periods)


def fold_by_period(wav: Tensor, period: int) -> Tensor:
    """(B, 1, T_a) -> (B, 1, ceil(T_a / period), period), row by row; the end is padded by reflection."""
    padding = -wav.shape[-1] % period
    padded = F.pad(wav, (0, padding), mode="reflect")
    return padded.view(len(wav), 1, -1, period)
