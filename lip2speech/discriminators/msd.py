"""The discriminators of SoundStream (Zeghidour et al. 2021, section III-D), for training only.

One hears the wave, at three resolutions (MelGAN's, Kumar et al. 2019, with its kernels: 15, four times 41, 5
and 3); one sees a complex STFT through residual blocks that halve frequency each and time every other. The
multi-scale STFT discriminator that EnCodec put in their place is in `discriminators.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from lip2speech.discriminators.msstftd import SLOPE, MultiDiscriminator, conv2d

GROUP = 4  # input channels that one output of a grouped convolution sees
DOWN = 4  # stride, and growth of the channels, of each grouped convolution
BLOCKS = ((2, 1), (2, 2), (1, 1), (2, 2), (1, 1), (2, 2))
"""Growth of the channels and stride in time of each residual block; the stride in frequency is always 2."""


@dataclass(frozen=True)
class MSDConfig:
    """Sizes of the multi-scale wave discriminator: filters of its first layer, halvings of its input."""

    filters: int = 16
    max_filters: int = 1024
    layers: int = 4
    scales: int = 3

    def __post_init__(self) -> None:
        if self.filters % GROUP or self.max_filters % GROUP:
            raise ValueError(
                f"filters and max_filters must be multiples of {GROUP}, got {self.filters} and "
                f"{self.max_filters}."
            )


@dataclass(frozen=True)
class STFTDConfig:
    """Sizes of the STFT discriminator; n_fft must be a multiple of 128, 64 of its halves for the blocks."""

    filters: int = 32
    n_fft: int = 1024
    hop_length: int = 256

    def __post_init__(self) -> None:
        if self.n_fft % (2 * 2 ** len(BLOCKS)):
            raise ValueError(f"n_fft must be a multiple of {2 * 2 ** len(BLOCKS)}, got {self.n_fft}.")


class MultiScaleDiscriminator(nn.Module):
    """One resolution. wav (B, 1, T_a) -> logits (B, 1, T), list of feature maps (B, C_i, T_i)."""

    def __init__(self, config: MSDConfig, halvings: int):
        super().__init__()
        self.halvings, width = halvings, config.filters
        convs: list[nn.Module] = [conv1d(1, width, 15)]
        for _ in range(config.layers):
            wider = min(DOWN * width, config.max_filters)
            convs.append(conv1d(width, wider, 10 * DOWN + 1, stride=DOWN, groups=width // GROUP))
            width = wider
        self.convs = nn.ModuleList([*convs, conv1d(width, width, 5)])
        self.post = conv1d(width, 1, 3)

    def forward(self, wav: Tensor) -> tuple[Tensor, list[Tensor]]:
        x = wav
        for _ in range(self.halvings):
            x = F.avg_pool1d(x, 4, 2, 1, count_include_pad=False)
        maps = []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), SLOPE)
            maps.append(x)
        return self.post(x), maps


class ResidualBlock2d(nn.Module):
    """conv 3x3, then a strided convolution, beside a strided 1x1.

    Shape:
        (B, C, T, F) -> (B, growth * C, T / time_stride, F / 2)
    """

    def __init__(self, channels: int, growth: int, time_stride: int):
        super().__init__()
        wider, stride = growth * channels, (time_stride, 2)
        self.inner = conv2d(channels, channels, (3, 3))
        # Kernels 3x4 and 4x4, padded by 1: T / stride frames for either.
        self.outer = weight_norm(nn.Conv2d(channels, wider, (time_stride + 2, 4), stride, padding=1))
        self.shortcut = weight_norm(nn.Conv2d(channels, wider, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        y = self.outer(F.leaky_relu(self.inner(x), SLOPE))
        short = self.shortcut(x)[:, :, : y.shape[2]]  # of an odd number of frames it keeps the last half
        return F.leaky_relu(cast(Tensor, short + y), SLOPE)


class STFTD(nn.Module):
    """A complex STFT. wav (B, 1, T_a) -> logits (B, 1, T), list of feature maps (B, C_i, T_i, F_i)."""

    window: Tensor

    def __init__(self, config: STFTDConfig):
        super().__init__()
        self.config = config
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        width = config.filters
        layers = [conv2d(2, width, (7, 7))]
        for growth, time_stride in BLOCKS:
            layers.append(ResidualBlock2d(width, growth, time_stride))
            width *= growth
        self.layers = nn.ModuleList(layers)
        self.post = weight_norm(nn.Conv2d(width, 1, (1, config.n_fft // 2 >> len(BLOCKS))))

    def forward(self, wav: Tensor) -> tuple[Tensor, list[Tensor]]:
        n_fft, hop_length = self.config.n_fft, self.config.hop_length
        spectrum = torch.stft(wav[:, 0], n_fft, hop_length, window=self.window, return_complex=True)
        spectrum = (
            spectrum[:, :-1] / self.window.pow(2).sum().sqrt()
        )  # F = n_fft / 2: without the highest bin
        x = torch.stack([spectrum.real, spectrum.imag], 1).transpose(2, 3)  # (B, 2, T, F)
        maps = []
        for i, layer in enumerate(self.layers):
            x = F.leaky_relu(layer(x), SLOPE) if i == 0 else layer(x)
            maps.append(x)
        return self.post(x)[..., 0], maps


def wave_discriminators(config: MSDConfig) -> MultiDiscriminator:
    """The wave discriminator at 1, 1/2, 1/4, ... of the sample rate."""
    return MultiDiscriminator(MultiScaleDiscriminator(config, halvings) for halvings in range(config.scales))


def conv1d(inp: int, out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Module:
    """A weight-normalised convolution that keeps T / stride."""
    return weight_norm(nn.Conv1d(inp, out, kernel, stride, kernel // 2, groups=groups))
