"""STFT discriminator of SoundStream (Zeghidour et al. 2021, section III-D).

A complex STFT through residual blocks that halve frequency in every block and time in every other one.
EnCodec replaced it by a multi-scale one, `msstftd.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from lip2speech.discriminators.base import MultiDiscriminator, norm_conv2d

LEAKY_SLOPE = 0.2
BLOCKS = ((2, 1), (2, 2), (1, 1), (2, 2), (1, 1), (2, 2))
"""Growth of the channels and stride in time of each residual block; the stride in frequency is always 2."""


@dataclass(frozen=True)
class STFTDConfig:
    """Sizes of the STFT discriminator; n_fft must be a multiple of 128: six blocks halve n_fft / 2 bins."""

    filters: int = 32
    n_fft: int = 1024
    hop_length: int = 256

    def __post_init__(self) -> None:
        if self.n_fft % (2 * 2 ** len(BLOCKS)):
            raise ValueError(f"n_fft must be a multiple of {2 * 2 ** len(BLOCKS)}, got {self.n_fft}.")


class STFTResidualBlock(nn.Module):
    """conv 3x3, then a strided convolution; a strided 1x1 convolution on the skip.

    Shape:
        (B, C, T, F) -> (B, growth * C, T / time_stride, F / 2)
    """

    def __init__(self, channels: int, growth: int, time_stride: int):
        super().__init__()
        wider, stride = growth * channels, (time_stride, 2)
        self.conv1 = norm_conv2d(channels, channels, (3, 3))
        # Kernels 3x4 and 4x4, padded by 1: T / stride frames for either.
        self.conv2 = weight_norm(nn.Conv2d(channels, wider, (time_stride + 2, 4), stride, padding=1))
        self.shortcut = weight_norm(nn.Conv2d(channels, wider, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, F) -> (B, growth * C, T / time_stride, F / 2)."""
        y = self.conv2(F.leaky_relu(self.conv1(x), LEAKY_SLOPE))
        skip = self.shortcut(x)[:, :, : y.shape[2]]  # one frame more when T is odd
        return F.leaky_relu(cast(Tensor, skip + y), LEAKY_SLOPE)


class STFTSubDiscriminator(nn.Module):
    """The network on one complex STFT.

    Shape:
        wav (B, 1, T_a) -> logits (B, 1, T), list of feature maps (B, C_i, T_i, F_i)
    """

    window: Tensor

    def __init__(self, config: STFTDConfig):
        super().__init__()
        self.config = config
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        width = config.filters
        layers = [norm_conv2d(2, width, (7, 7))]
        for growth, time_stride in BLOCKS:
            layers.append(STFTResidualBlock(width, growth, time_stride))
            width *= growth
        self.layers = nn.ModuleList(layers)
        self.conv_post = weight_norm(nn.Conv2d(width, 1, (1, config.n_fft // 2 >> len(BLOCKS))))

    def forward(self, wav: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits and feature maps."""
        n_fft, hop_length = self.config.n_fft, self.config.hop_length
        spectrum = torch.stft(wav[:, 0], n_fft, hop_length, window=self.window, return_complex=True)
        spectrum = spectrum[:, :-1] / self.window.pow(2).sum().sqrt()  # n_fft / 2 bins: without the highest
        x = torch.stack([spectrum.real, spectrum.imag], 1).transpose(2, 3)  # (B, 2, T, F)
        features = []
        for i, layer in enumerate(self.layers):
            x = F.leaky_relu(layer(x), LEAKY_SLOPE) if i == 0 else layer(x)
            features.append(x)
        return self.conv_post(x)[..., 0], features


class STFTDiscriminator(MultiDiscriminator):
    """SoundStream's single STFT, in the container that all discriminators have."""

    def __init__(self, config: STFTDConfig):
        super().__init__([STFTSubDiscriminator(config)])
