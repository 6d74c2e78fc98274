"""SEANet: the convolutional encoder and decoder of SoundStream and EnCodec.

Tagliasacchi et al. 2020 (SEANet), Zeghidour et al. 2021 (SoundStream), Défossez et al. 2022 (EnCodec, section
3.1). The encoder downsamples a wav by strided convolutions, each after residual blocks, to one latent frame
per hop; the decoder mirrors it. With causal=True both stream; with pad_mode="reflect" (the public EnCodec
weights) the first step must contain more than kernel_size - 1 latent frames (7 of them, 93 ms at 75 Hz).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from lip2speech.modules.activations import ELU
from lip2speech.modules.conv import (
    Norm,
    PadMode,
    State,
    StreamingConv1d,
    StreamingConvTranspose1d,
    channels_last,
    step_layers,
)
from lip2speech.modules.lstm import ResidualLSTM


@dataclass(frozen=True)
class SEANetConfig:
    """SEANet; the defaults are EnCodec's with 320 samples per frame and padding that streams.

    Attributes:
        channels: of the wav.
        dimension: of the latent.
        n_filters: of the first encoder convolution; every downsampling doubles them.
        n_residual_layers: residual blocks before each downsampling.
        ratios: of the resampling, in the order of the decoder.
        kernel_size: of the first convolution of encoder and decoder.
        last_kernel_size: of the last one.
        residual_kernel_size: of the first convolution in a residual block.
        dilation_base: residual block i has dilation dilation_base ** i.
        compress: ratio of channels to hidden channels in a residual block.
        true_skip: identity skip connections instead of 1x1 convolutions.
        lstm: number of LSTM layers.
        causal: whether convolutions are causal.
        pad_mode: of the convolutions.
        trim_right_ratio: share of the padding of transposed convolutions that is trimmed on the right.
        norm: of the convolutions.
        final_activation: of the decoder, None or Tanh.
    """

    channels: int = 1
    dimension: int = 128
    n_filters: int = 32
    n_residual_layers: int = 1
    ratios: tuple[int, ...] = (8, 5, 4, 2)
    kernel_size: int = 7
    last_kernel_size: int = 7
    residual_kernel_size: int = 3
    dilation_base: int = 2
    compress: int = 2
    true_skip: bool = False
    lstm: int = 2
    causal: bool = True
    pad_mode: PadMode = "constant"
    trim_right_ratio: float = 1.0
    norm: Norm = "weight_norm"
    final_activation: str | None = None

    @property
    def hop_length(self) -> int:
        """Samples per latent frame."""
        return math.prod(self.ratios)


class SEANetResnetBlock(nn.Module):
    """x + conv1x1(elu(conv_k(elu(x)))), with a 1x1 convolution on the skip unless `true_skip`.

    Shape:
        forward, step: (B, C, T) -> (B, C, T)
    """

    def __init__(self, config: SEANetConfig, channels: int, dilation: int):
        super().__init__()
        hidden = channels // config.compress
        self.block = nn.Sequential(
            ELU(),
            _conv(config, channels, hidden, config.residual_kernel_size, dilation=dilation),
            ELU(),
            _conv(config, hidden, channels, 1),
        )
        self.shortcut = nn.Identity() if config.true_skip else _conv(config, channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        y: Tensor = self.shortcut(x) + self.block(x)
        return y

    def step(self, x: Tensor, state: Sequence[State] | None = None) -> tuple[Tensor, list[State]]:
        """(B, C, T), state -> (B, C, T), state. The shortcut has kernel size 1 and needs no state."""
        y, state = step_layers(self.block, x, state)
        return self.shortcut(x) + y, state


class _SEANet(nn.Module):
    """A stack of layers that runs in one pass or in steps."""

    layers: nn.Sequential

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C', T')."""
        y: Tensor = self.layers(channels_last(x)).contiguous()
        return y

    def step(self, x: Tensor, state: Sequence[State] | None = None) -> tuple[Tensor, list[State]]:
        """(B, C, T), state -> (B, C', T'), state; the chunks equal `forward` on the whole input."""
        y, new_state = step_layers(self.layers, channels_last(x), state)
        return y.contiguous(), new_state


class SEANetEncoder(_SEANet):
    """wav -> latent.

    Shape:
        forward: (B, channels, T_a) -> (B, dimension, ceil(T_a / hop_length))
        step: the same for T_a a multiple of hop_length
    """

    def __init__(self, config: SEANetConfig):
        super().__init__()
        width = config.n_filters
        layers: list[nn.Module] = [_conv(config, config.channels, width, config.kernel_size)]
        for ratio in reversed(config.ratios):
            layers += _residual_blocks(config, width)
            layers += [ELU(), _conv(config, width, 2 * width, 2 * ratio, stride=ratio)]
            width *= 2
        layers += _lstm(config, width)
        layers += [ELU(), _conv(config, width, config.dimension, config.last_kernel_size)]
        self.layers = nn.Sequential(*layers)


class SEANetDecoder(_SEANet):
    """latent -> wav.

    Shape:
        forward, step: (B, dimension, T) -> (B, channels, T * hop_length)
    """

    def __init__(self, config: SEANetConfig):
        super().__init__()
        width = config.n_filters * 2 ** len(config.ratios)
        layers: list[nn.Module] = [_conv(config, config.dimension, width, config.kernel_size)]
        layers += _lstm(config, width)
        for ratio in config.ratios:
            layers += [ELU(), _conv_transpose(config, width, width // 2, ratio)]
            width //= 2
            layers += _residual_blocks(config, width)
        layers += [ELU(), _conv(config, width, config.channels, config.last_kernel_size)]
        layers += _final_activation(config)
        self.layers = nn.Sequential(*layers)


def _conv(
    config: SEANetConfig,
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    dilation: int = 1,
) -> StreamingConv1d:
    return StreamingConv1d(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        dilation=dilation,
        causal=config.causal,
        pad_mode=config.pad_mode,
        norm=config.norm,
    )


def _conv_transpose(
    config: SEANetConfig, in_channels: int, out_channels: int, ratio: int
) -> StreamingConvTranspose1d:
    return StreamingConvTranspose1d(
        in_channels,
        out_channels,
        2 * ratio,
        stride=ratio,
        causal=config.causal,
        norm=config.norm,
        trim_right_ratio=config.trim_right_ratio,
    )


def _residual_blocks(config: SEANetConfig, width: int) -> list[nn.Module]:
    return [
        SEANetResnetBlock(config, width, config.dilation_base**i) for i in range(config.n_residual_layers)
    ]


def _lstm(config: SEANetConfig, width: int) -> list[nn.Module]:
    return [ResidualLSTM(width, num_layers=config.lstm)] if config.lstm else []


def _final_activation(config: SEANetConfig) -> list[nn.Module]:
    known: dict[str | None, list[nn.Module]] = {None: [], "Tanh": [nn.Tanh()]}
    if config.final_activation not in known:
        raise ValueError(f"final_activation must be null or Tanh, got {config.final_activation!r}.")
    return known[config.final_activation]
