"""HiFi-GAN conditioned on mel, units and a speaker embedding.

    units (50 Hz) -> embedding -> transposed convolution to 100 Hz -\\
    mel (100 Hz) ---------------------------------------------------+-> HiFi-GAN generator -> 16 kHz
    speaker embedding -> linear, repeated in every frame -----------/

The generator is HiFi-GAN's (Kong, Kim and Bae 2020, section 2.2 and appendix A.1): transposed convolutions,
each followed by residual blocks of several kernels whose outputs are averaged. The inputs besides the mel are
those of the multi-input vocoder of lip2speech-unit (Choi, Kim and Ro 2023, section 2.3): units resolve what a
blurred mel leaves open.
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
"""The mel of lip2speech-unit: centered windows of 40 ms, padded by reflection."""
LEAKY_SLOPE = 0.1
LAST_LEAKY_SLOPE = 0.01  # before conv_post: the published generator uses the default there
OUTER_KERNEL_SIZE = 7  # of conv_pre and conv_post
UNIT_RATIO = 2  # mel frames per unit


@dataclass(frozen=True)
class HiFiGANConfig:
    """Sizes; the defaults are lip2speech-unit's.

    Attributes:
        mel: config of the mel.
        n_units: number of units.
        unit_dim: dimension of their embedding; the speaker embedding is projected to the same.
        speaker_dim: dimension of the speaker embedding.
        channels: after the first convolution; every stage halves them.
        ratios: upsampling ratios of the stages; their product is the mel's hop_length.
        kernels: kernel sizes of the transposed convolutions.
        block_kernels: kernel sizes of the residual blocks of each stage.
        dilations: of the layers of each of these blocks.
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
                f"ratios and kernels must be equally many, and block_kernels and dilations, got "
                f"{self.ratios} and {self.kernels}, {self.block_kernels} and {self.dilations}."
            )
        if math.prod(self.ratios) != self.mel.hop_length:
            raise ValueError(f"ratios must multiply to hop_length {self.mel.hop_length}, got {self.ratios}.")
        if any(k < r or (k - r) % 2 for r, k in zip(self.ratios, self.kernels, strict=True)):
            raise ValueError(f"kernels must exceed their ratios by 0, 2, 4 ..., got {self.kernels}.")
        if any(kernel % 2 == 0 for kernel in self.block_kernels) or self.channels % 2 ** len(self.ratios):
            raise ValueError(
                f"block_kernels must be odd and channels a multiple of {2 ** len(self.ratios)}, got "
                f"{self.block_kernels} and {self.channels}."
            )


def norm_conv1d(in_channels: int, out_channels: int, kernel_size: int, dilation: int = 1) -> StreamingConv1d:
    """A centered, weight-normalized convolution."""
    return StreamingConv1d(
        in_channels, out_channels, kernel_size, dilation=dilation, causal=False, norm="weight_norm"
    )


class MRFBlock(nn.Module):
    """Pairs of a dilated and a plain convolution, each with a skip connection (multi-receptive field fusion).

    Shape:
        forward: (B, C, T) -> (B, C, T)
    """

    def __init__(self, channels: int, kernel_size: int, dilations: tuple[int, ...]):
        super().__init__()
        self.convs1 = nn.ModuleList(norm_conv1d(channels, channels, kernel_size, d) for d in dilations)
        self.convs2 = nn.ModuleList(norm_conv1d(channels, channels, kernel_size) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        for dilated, plain in zip(self.convs1, self.convs2, strict=True):
            x = x + plain(F.leaky_relu(dilated(F.leaky_relu(x, LEAKY_SLOPE)), LEAKY_SLOPE))
        return x


class UpsampleStage(nn.Module):
    """A transposed convolution, then the mean of its residual blocks.

    Shape:
        forward: (B, C, T) -> (B, C / 2, ratio * T)
    """

    def __init__(self, channels: int, ratio: int, kernel_size: int, config: HiFiGANConfig):
        super().__init__()
        self.upsample = weight_norm(
            nn.ConvTranspose1d(channels, channels // 2, kernel_size, ratio, (kernel_size - ratio) // 2)
        )
        self.blocks = nn.ModuleList(
            MRFBlock(channels // 2, size, dilations)
            for size, dilations in zip(config.block_kernels, config.dilations, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C / 2, ratio * T)."""
        x = self.upsample(F.leaky_relu(x, LEAKY_SLOPE))
        total = self.blocks[0](x)
        for block in self.blocks[1:]:
            total = total + block(x)
        y: Tensor = total / len(self.blocks)
        return y


class HiFiGAN(Vocoder):
    """Mel, units and a speaker embedding to speech.

    Args:
        config: sizes, and the config of the mel.

    Shape:
        forward: Prediction of T video frames -> wav (B, 1, 640 T), with the argmax of `unit_logits`
        generate: mel (B, n_mels, 2N), units (B, N) 0 .. n_units - 1, speaker (B, S) -> wav (B, 1, 320 N)
    """

    config_class = HiFiGANConfig
    needs = ("mel", "unit_logits", "speaker")

    def __init__(self, config: HiFiGANConfig | None = None):
        super().__init__()
        self.config = c = config or HiFiGANConfig()
        self.sample_rate = c.mel.sample_rate
        self.unit_embedding = nn.Embedding(c.n_units, c.unit_dim)
        self.unit_upsample = nn.ConvTranspose1d(c.unit_dim, c.unit_dim, 2 * UNIT_RATIO, UNIT_RATIO, 1)
        self.unit_proj = nn.Linear(c.unit_dim, c.unit_dim)
        self.speaker_proj = nn.Linear(c.speaker_dim, c.unit_dim)
        self.conv_pre = norm_conv1d(c.mel.n_mels + 2 * c.unit_dim, c.channels, OUTER_KERNEL_SIZE)
        sizes = zip(c.ratios, c.kernels, strict=True)
        self.stages = nn.ModuleList(
            UpsampleStage(c.channels // 2**i, ratio, kernel, c) for i, (ratio, kernel) in enumerate(sizes)
        )
        self.conv_post = norm_conv1d(c.channels // 2 ** len(c.ratios), 1, OUTER_KERNEL_SIZE)

    def forward(self, prediction: Prediction) -> Tensor:
        """Mel, unit logits and speaker embedding -> wav (B, 1, 640 T)."""
        mel, logits, speaker = (prediction.require(name) for name in self.needs)
        return self.generate(mel.float(), logits.argmax(1), speaker.float())

    def generate(self, mel: Tensor, units: Tensor, speaker: Tensor) -> Tensor:
        """mel (B, n_mels, 2N), units (B, N), speaker (B, S) -> wav (B, 1, 320 N) in [-1, 1]."""
        self._check(mel, units, speaker)
        content = self.unit_features(units)
        speaker = self.speaker_proj(speaker)[:, :, None].expand(-1, -1, mel.shape[-1])
        x = self.conv_pre(torch.cat([mel, content, speaker], 1))
        for stage in self.stages:
            x = stage(x)
        return torch.tanh(self.conv_post(F.leaky_relu(x, LAST_LEAKY_SLOPE)))

    def unit_features(self, units: Tensor) -> Tensor:
        """Units (B, N) -> features at the mel rate (B, unit_dim, 2N)."""
        x = F.gelu(self.unit_upsample(self.unit_embedding(units).transpose(1, 2)))
        features: Tensor = self.unit_proj(x.transpose(1, 2)).transpose(1, 2)
        return features

    def _check(self, mel: Tensor, units: Tensor, speaker: Tensor) -> None:
        """ValueError: shapes that do not match the config or each other."""
        c, shapes = self.config, (tuple(mel.shape), tuple(units.shape), tuple(speaker.shape))
        batch, n_units = units.shape if units.dim() == 2 else (0, 0)
        expected = (batch, c.mel.n_mels, UNIT_RATIO * n_units), (batch, n_units), (batch, c.speaker_dim)
        if shapes != expected or not n_units:
            raise ValueError(
                f"mel, units and speaker must be (B, {c.mel.n_mels}, 2N), (B, N) and (B, {c.speaker_dim}), "
                f"got {', '.join(map(str, shapes))}."
            )
