"""HiFi-GAN on three inputs at once: mel, units and a voice become sound.

    units (50 Hz) -> table -> transposed convolution to 100 Hz -\\
    mel (100 Hz) -----------------------------------------------+-> HiFi-GAN generator -> 16 kHz
    voice -> linear, the same in every frame -------------------/

The generator is HiFi-GAN's (Kong, Kim, Bae 2020, section 2.2 and appendix A.1): transposed convolutions, each
followed by residual blocks of several kernels whose outputs are averaged. The inputs beside the mel are those
of the multi-input vocoder of lip2speech-unit (Choi, Kim, Ro 2023, section 2.3): units say which sound a
blurred mel means. Knows nothing of lips, nor where mel and units come from; its training is not here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from lip2speech.audio.mel import MelConfig
from lip2speech.models.prediction import Prediction
from lip2speech.modules.conv import StreamingConv1d
from lip2speech.vocoders.base import Vocoder

UNIT_MEL = MelConfig(n_fft=640, win_length=640, pad="reflect")
"""The mel of lip2speech-unit: windows of 40 ms, centred, the ends mirrored."""
SLOPE = 0.1  # of the leaky ReLUs
LAST_SLOPE = 0.01  # of the one before the last convolution: the published generator leaves out its argument
OUTER_KERNEL = 7  # of the first and the last convolution
UNIT_RATIO = 2  # mel frames for each unit


@dataclass(frozen=True)
class HiFiGANConfig:
    """Sizes; the defaults are lip2speech-unit's.

    mel: the recipe of the mel it is given.
    n_units, unit_dim: rows and width of the units' table; the voice is brought to the same width.
    channels: after the first convolution; every stage halves them.
    ratios, kernels: of the transposed convolutions; together the ratios make a mel frame's hop_length.
    block_kernels: of the residual blocks of each stage; dilations: of the layers of each of these.
    """

    mel: MelConfig = field(default_factory=lambda: UNIT_MEL)
    n_units: int = 200
    unit_dim: int = 128
    speaker_dim: int = 256
    channels: int = 512
    ratios: tuple[int, ...] = (5, 4, 2, 2, 2)
    kernels: tuple[int, ...] = (11, 8, 4, 4, 4)
    block_kernels: tuple[int, ...] = (3, 7, 11)
    dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))

    def __post_init__(self) -> None:
        if len(self.ratios) != len(self.kernels) or len(self.block_kernels) != len(self.dilations):
            raise ValueError(
                f"ratios {self.ratios} need as many kernels ({self.kernels}), block_kernels "
                f"{self.block_kernels} as many dilations ({self.dilations})."
            )
        if math.prod(self.ratios) != self.mel.hop_length:
            raise ValueError(f"ratios {self.ratios} must make the mel's hop_length, {self.mel.hop_length}.")
        if any(k < r or (k - r) % 2 for r, k in zip(self.ratios, self.kernels, strict=True)):
            raise ValueError(f"kernels must exceed their ratios by 0, 2, 4 ..., got {self.kernels}.")
        if any(kernel % 2 == 0 for kernel in self.block_kernels) or self.channels % 2 ** len(self.ratios):
            raise ValueError(
                f"block_kernels must be odd and channels a multiple of {2 ** len(self.ratios)}, got "
                f"{self.block_kernels} and {self.channels}."
            )


def convolution(in_channels: int, out_channels: int, kernel_size: int, dilation: int = 1) -> StreamingConv1d:
    """One of the generator's plain layers: centred, weight-normed."""
    return StreamingConv1d(
        in_channels, out_channels, kernel_size, dilation=dilation, causal=False, norm="weight_norm"
    )


class MRFBlock(nn.Module):
    """Pairs of a dilated and a plain convolution, each pair added to what it was given.

    Shape:
        forward: (B, C, T) -> (B, C, T)
    """

    def __init__(self, channels: int, kernel_size: int, dilations: tuple[int, ...]):
        super().__init__()
        self.dilated = nn.ModuleList(convolution(channels, channels, kernel_size, d) for d in dilations)
        self.plain = nn.ModuleList(convolution(channels, channels, kernel_size) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for dilated, plain in zip(self.dilated, self.plain, strict=True):
            x = x + plain(F.leaky_relu(dilated(F.leaky_relu(x, SLOPE)), SLOPE))
        return x


class UpsampleStage(nn.Module):
    """One transposed convolution and the residual blocks after it, whose mean goes on.

    Shape:
        forward: (B, C, T) -> (B, C / 2, ratio * T)
    """

    def __init__(self, channels: int, ratio: int, kernel_size: int, config: HiFiGANConfig):
        super().__init__()
        self.up = weight_norm(
            nn.ConvTranspose1d(channels, channels // 2, kernel_size, ratio, (kernel_size - ratio) // 2)
        )
        self.blocks = nn.ModuleList(
            MRFBlock(channels // 2, size, dilations)
            for size, dilations in zip(config.block_kernels, config.dilations, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(F.leaky_relu(x, SLOPE))
        total = self.blocks[0](x)
        for block in self.blocks[1:]:
            total = total + block(x)
        return total / len(self.blocks)


class HiFiGAN(Vocoder):
    """Mel, units and a voice to speech.

    Args:
        config: sizes, and the recipe of the mel.
    Shape:
        forward: Prediction of T video frames -> wav (B, 1, 640 T); of `unit_logits` the best unit counts
        synthesise: mel (B, n_mels, 2N), units (B, N) 0 .. n_units - 1, speaker (B, S) -> wav (B, 1, 320 N)
    """

    needs = ("mel", "unit_logits", "speaker")

    def __init__(self, config: HiFiGANConfig | None = None):
        super().__init__()
        self.config = c = config or HiFiGANConfig()
        self.sample_rate = c.mel.sample_rate
        self.units = nn.Embedding(c.n_units, c.unit_dim)
        self.to_mel_rate = nn.ConvTranspose1d(c.unit_dim, c.unit_dim, 2 * UNIT_RATIO, UNIT_RATIO, 1)
        self.unit_proj = nn.Linear(c.unit_dim, c.unit_dim)
        self.speaker = nn.Linear(c.speaker_dim, c.unit_dim)
        self.inp = convolution(c.mel.n_mels + 2 * c.unit_dim, c.channels, OUTER_KERNEL)
        sizes = zip(c.ratios, c.kernels, strict=True)
        self.stages = nn.ModuleList(
            UpsampleStage(c.channels // 2**i, ratio, kernel, c) for i, (ratio, kernel) in enumerate(sizes)
        )
        self.out = convolution(c.channels // 2 ** len(c.ratios), 1, OUTER_KERNEL)

    def forward(self, prediction: Prediction) -> Tensor:
        mel, logits, speaker = (prediction.require(name) for name in self.needs)
        return self.synthesise(mel.float(), logits.argmax(1), speaker.float())

    def synthesise(self, mel: Tensor, units: Tensor, speaker: Tensor) -> Tensor:
        """mel (B, n_mels, 2N), units (B, N), speaker (B, S) -> wav (B, 1, 320 N) in [-1, 1]."""
        self._check(mel, units, speaker)
        content = self.unit_features(units)
        voice = self.speaker(speaker)[:, :, None].expand(-1, -1, mel.shape[-1])
        x = self.inp(torch.cat([mel, content, voice], 1))
        for stage in self.stages:
            x = stage(x)
        return torch.tanh(self.out(F.leaky_relu(x, LAST_SLOPE)))

    def unit_features(self, units: Tensor) -> Tensor:
        """Units (B, N) -> what they say at the mel's rate, (B, unit_dim, 2N)."""
        x = F.gelu(self.to_mel_rate(self.units(units).transpose(1, 2)))
        return self.unit_proj(x.transpose(1, 2)).transpose(1, 2)

    def _check(self, mel: Tensor, units: Tensor, speaker: Tensor) -> None:
        """ValueError: sizes that are not this vocoder's, or clocks that do not agree."""
        c, given = self.config, (tuple(mel.shape), tuple(units.shape), tuple(speaker.shape))
        batch, steps = units.shape if units.dim() == 2 else (0, 0)
        expected = (batch, c.mel.n_mels, UNIT_RATIO * steps), (batch, steps), (batch, c.speaker_dim)
        if given != expected or not steps:
            raise ValueError(
                f"mel, units and speaker must be (B, {c.mel.n_mels}, 2N), (B, N) and (B, {c.speaker_dim}), "
                f"got {', '.join(map(str, given))}."
            )
