"""Discriminators for the GAN part of codec training (used in training only, never shipped).

Multi-scale STFT discriminator of EnCodec (Defossez et al. 2022, section 3.4): one 2-D convolutional network
per STFT size looks at the real and imaginary parts. The public code leaves the first convolution without
weight norm, which only changes how fast it learns; ours has it everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

SLOPE = 0.2


@dataclass(frozen=True)
class MSSTFTConfig:
    """Sizes of the multi-scale STFT discriminator; hop is a quarter of each window."""

    filters: int = 32
    n_ffts: tuple[int, ...] = (1024, 2048, 512)
    kernel: tuple[int, int] = (3, 9)
    dilations: tuple[int, ...] = (1, 2, 4)


class STFTDiscriminator(nn.Module):
    """One STFT size. wav (B, 1, T_a) -> logits (B, 1, T, F'), list of feature maps (B, C, T, F_i)."""

    window: Tensor

    def __init__(self, filters: int, n_fft: int, kernel: tuple[int, int], dilations: tuple[int, ...]):
        super().__init__()
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        square = (kernel[0], kernel[0])
        convs = [conv2d(2, filters, kernel)]
        convs += [conv2d(filters, filters, kernel, stride=(1, 2), dilation=(d, 1)) for d in dilations]
        convs += [conv2d(filters, filters, square)]
        self.convs = nn.ModuleList(convs)
        self.post = conv2d(filters, 1, square)

    def forward(self, wav: Tensor) -> tuple[Tensor, list[Tensor]]:
        spectrum = torch.stft(
            wav[:, 0], self.n_fft, self.n_fft // 4, window=self.window, center=False, return_complex=True
        )
        spectrum = spectrum / self.window.pow(2).sum().sqrt()
        x = torch.stack([spectrum.real, spectrum.imag], 1).transpose(2, 3)  # (B, 2, T, F)
        maps = []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), SLOPE)
            maps.append(x)
        return self.post(x), maps


class MultiDiscriminator(nn.Module):
    """Several judges of one wav. wav (B, 1, T_a) -> list of logits, list of lists of feature maps."""

    def __init__(self, scales: Iterable[nn.Module]):
        super().__init__()
        self.scales = nn.ModuleList(scales)

    def forward(self, wav: Tensor) -> tuple[list[Tensor], list[list[Tensor]]]:
        logits, maps = [], []
        for scale in self.scales:
            one, some = scale(wav)
            logits.append(one)
            maps.append(some)
        return logits, maps


class MSSTFTDiscriminator(MultiDiscriminator):
    """All STFT sizes."""

    def __init__(self, config: MSSTFTConfig):
        super().__init__(
            STFTDiscriminator(config.filters, n_fft, config.kernel, config.dilations)
            for n_fft in config.n_ffts
        )


def conv2d(
    inp: int,
    out: int,
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
) -> nn.Module:
    """A weight-normalised convolution that keeps T, and F where its stride is 1."""
    padding = ((kernel[0] - 1) * dilation[0] // 2, (kernel[1] - 1) * dilation[1] // 2)
    return weight_norm(nn.Conv2d(inp, out, kernel, stride, padding, dilation))
