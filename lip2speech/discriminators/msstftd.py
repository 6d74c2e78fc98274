"""Multi-scale STFT discriminator of EnCodec (Défossez et al. 2022, section 3.4).

One 2-D convolutional network per STFT size, on real and imaginary parts. The public code leaves the first
convolution without weight norm, which only affects learning speed; ours has it everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lip2speech.discriminators.base import MultiDiscriminator, norm_conv2d

LEAKY_SLOPE = 0.2


@dataclass(frozen=True)
class MSSTFTDConfig:
    """Sizes of the multi-scale STFT discriminator; the hop is a quarter of each window."""

    filters: int = 32
    n_ffts: tuple[int, ...] = (1024, 2048, 512)
    kernel: tuple[int, int] = (3, 9)
    dilations: tuple[int, ...] = (1, 2, 4)


class ScaleSTFTDiscriminator(nn.Module):
    """Discriminator of one STFT size.

    Shape:
        wav (B, 1, T_a) -> logits (B, 1, T, F'), list of feature maps (B, C, T, F_i)
    """

    window: Tensor

    def __init__(self, config: MSSTFTDConfig, n_fft: int):
        super().__init__()
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        filters, kernel = config.filters, config.kernel
        square = (kernel[0], kernel[0])
        convs = [norm_conv2d(2, filters, kernel)]
        convs += [
            norm_conv2d(filters, filters, kernel, stride=(1, 2), dilation=(dilation, 1))
            for dilation in config.dilations
        ]
        convs += [norm_conv2d(filters, filters, square)]
        self.convs = nn.ModuleList(convs)
        self.conv_post = norm_conv2d(filters, 1, square)

    def forward(self, wav: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits and feature maps."""
        spectrum = torch.stft(
            wav[:, 0], self.n_fft, self.n_fft // 4, window=self.window, center=False, return_complex=True
        )
        spectrum = spectrum / self.window.pow(2).sum().sqrt()
        x = torch.stack([spectrum.real, spectrum.imag], 1).transpose(2, 3)  # (B, 2, T, F)
        features = []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), LEAKY_SLOPE)
            features.append(x)
        return self.conv_post(x), features


class MSSTFTDiscriminator(MultiDiscriminator):
    """One discriminator per STFT size."""

    def __init__(self, config: MSSTFTDConfig):
        super().__init__(ScaleSTFTDiscriminator(config, n_fft) for n_fft in config.n_ffts)
