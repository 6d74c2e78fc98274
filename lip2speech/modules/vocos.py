"""Vocos: a latent at the frame rate to a complex spectrogram, then one inverse STFT to a waveform.

Siuzdak 2024 (Vocos), section 3; with attention before the ConvNeXt blocks as in WavTokenizer (Ji et al.
2025), which SACodec adopts. There is no upsampling: all layers run at the frame rate.

    latent (B, D, T) -> conv -> 2 residual blocks, attention, 2 residual blocks -> ConvNeXt blocks
                     -> magnitude and phase (B, F, T) -> wav (B, 1, T * hop_length)

Attention and group norms span the whole input, so it is neither streamable nor causal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lip2speech.modules.convnext import ConvNeXtBlock
from lip2speech.modules.overlap_add import overlap_add

N_GROUPS = 32  # of every group norm
EPSILON = 1e-6  # of every norm, as in the public weights
MAX_MAGNITUDE = 100.0  # of a bin, as in Vocos: limits the exponential of an outlier


@dataclass(frozen=True)
class VocosConfig:
    """Vocos decoder; the defaults are WavTokenizer's and SACodec's (63 M parameters)."""

    dimension: int = 512  # of the latent
    width: int = 768
    hidden: int = 2304
    blocks: int = 12
    n_fft: int = 1280
    hop_length: int = 320
    dropout: float = 0.1


class VocosResnetBlock(nn.Module):
    """x + conv(dropout(swish(norm(conv(swish(norm(x))))))), kernels of 3.

    Shape:
        forward: (B, C, T) -> (B, C, T)
    """

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.layers = nn.Sequential(
            _group_norm(width),
            nn.SiLU(),
            nn.Conv1d(width, width, 3, padding=1),
            _group_norm(width),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Conv1d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        y: Tensor = x + self.layers(x)
        return y


class AttentionBlock(nn.Module):
    """x + self-attention over all frames, with a single head.

    Shape:
        forward: (B, C, T) -> (B, C, T)
    """

    def __init__(self, width: int):
        super().__init__()
        self.norm = _group_norm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        y = self.norm(x).transpose(1, 2)
        y = F.scaled_dot_product_attention(self.query(y), self.key(y), self.value(y))
        out: Tensor = x + self.out(y).transpose(1, 2)
        return out


class SpectrumHead(nn.Module):
    """Inverse STFT head: hidden frames to a complex spectrogram to a waveform.

    Shape:
        spectrum: (B, C, T) -> complex (B, n_fft / 2 + 1, T)
        forward: (B, C, T) -> (B, 1, T * hop_length)
    """

    window: Tensor

    def __init__(self, config: VocosConfig):
        super().__init__()
        self.config = config
        self.out = nn.Linear(config.width, config.n_fft + 2)
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, 1, T * hop_length), in float32."""
        with torch.autocast(x.device.type, enabled=False):
            spectrum = self.spectrum(x.float())
            return inverse_stft(spectrum, self.window, self.config.hop_length).unsqueeze(1)

    def spectrum(self, x: Tensor) -> Tensor:
        """(B, C, T) -> complex (B, n_fft / 2 + 1, T) with magnitudes of at most `MAX_MAGNITUDE`."""
        log_magnitude, phase = self.out(x.transpose(1, 2)).transpose(1, 2).chunk(2, dim=1)
        # Clamp the logarithm: the exponential of a large one is infinite, and its gradient NaN.
        magnitude = log_magnitude.clamp(max=math.log(MAX_MAGNITUDE)).exp()
        return torch.complex(magnitude * phase.cos(), magnitude * phase.sin())


class VocosDecoder(nn.Module):
    """latent -> wav.

    Shape:
        forward: (B, dimension, T) -> (B, 1, T * hop_length)
        hidden: (B, dimension, T) -> (B, width, T), the input of the head
    """

    def __init__(self, config: VocosConfig):
        super().__init__()
        self.config, width = config, config.width
        _check(config)
        self.embed = nn.Conv1d(config.dimension, width, 7, padding=3)
        self.pos_net = nn.Sequential(
            VocosResnetBlock(width, config.dropout),
            VocosResnetBlock(width, config.dropout),
            AttentionBlock(width),
            VocosResnetBlock(width, config.dropout),
            VocosResnetBlock(width, config.dropout),
            _group_norm(width),
        )
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.convnext = nn.Sequential(*(_convnext(config) for _ in range(config.blocks)))
        self.final_layer_norm = nn.LayerNorm(width, eps=EPSILON)
        self.head = SpectrumHead(config)
        for module in (self.embed, self.convnext):
            module.apply(_init_weights)

    def forward(self, latent: Tensor) -> Tensor:
        """(B, dimension, T) -> (B, 1, T * hop_length)."""
        y: Tensor = self.head(self.hidden(latent))
        return y

    def hidden(self, latent: Tensor) -> Tensor:
        """(B, dimension, T) -> (B, width, T)."""
        x = self.pos_net(self.embed(latent))
        x = self.convnext(self.norm(x.transpose(1, 2)).transpose(1, 2))
        hidden: Tensor = self.final_layer_norm(x.transpose(1, 2)).transpose(1, 2)
        return hidden


def inverse_stft(spectrum: Tensor, window: Tensor, hop_length: int) -> Tensor:
    """complex (B, F, T) -> (B, T * hop_length): overlap-added frames, divided by the energy of the windows.

    Frame t is centered on samples t * hop_length .. (t + 1) * hop_length. `torch.istft` either gives one hop
    less (center=True) or rejects windows that start at zero (center=False).
    """
    n_fft, frames = len(window), spectrum.shape[-1]
    windowed = torch.fft.irfft(spectrum, n_fft, dim=1) * window[:, None]
    margin = (n_fft - hop_length) // 2
    wav = overlap_add(windowed, hop_length)[:, margin : margin + frames * hop_length]
    energy = overlap_add(window.square()[None, :, None].expand(1, n_fft, frames), hop_length)
    return wav / energy[:, margin : margin + frames * hop_length]


def _check(config: VocosConfig) -> None:
    if config.width % N_GROUPS:
        raise ValueError(f"width must be a multiple of {N_GROUPS} (group norms), got {config.width}.")
    if config.n_fft < 2 * config.hop_length or (config.n_fft - config.hop_length) % 2:
        raise ValueError(
            "n_fft must be at least 2 * hop_length and differ from it by an even number, "
            f"got {config.n_fft} and {config.hop_length}."
        )


def _group_norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(N_GROUPS, width, eps=EPSILON)


def _convnext(config: VocosConfig) -> ConvNeXtBlock:
    return ConvNeXtBlock(
        config.width, hidden=config.hidden, gamma=1 / config.blocks, causal=False, epsilon=EPSILON
    )


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Conv1d | nn.Linear) and module.bias is not None:
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
