"""WaveNet: samples drawn one by one, given the samples before, the mel and the speaker embedding.

van den Oord et al. 2016, "WaveNet: a generative model for raw audio": 256 mu-law classes (section 2.2), gated
causal layers of doubling dilation (2.1, 2.3), residual and skip connections (2.4), conditioning (2.5).

    previous sample              -> embedding -> gated layers of dilation 1, 2, 4 .. 512, repeated
    mel and speaker embedding    -> bias of each layer's filter and gate in each mel frame
    sum of all skip connections  -> ReLU, 1x1, ReLU, 1x1 -> logits of the classes

For generation each layer buffers its past inputs, and only one time step is computed per sample (Le Paine et
al. 2016, "Fast WaveNet generation algorithm"). That still runs all layers 16000 times per second: slower than
real time on a CPU. On mels blurrier than those of training the output is hoarse; see `train/vocoder/data.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lip2speech.audio.mel import MelConfig
from lip2speech.models.prediction import Prediction
from lip2speech.modules.activations import gated_activation
from lip2speech.modules.conv import StreamingConv1d
from lip2speech.vocoders.base import Vocoder

LOOKAHEAD = 2
"""Mel frames on either side that the conditioning of a frame depends on."""
NOISE_TABLE_SIZE = 1 << 16
"""Random numbers that samples are drawn with, reused after that: a clip always gives the same audio."""


@dataclass(frozen=True)
class WaveNetConfig:
    """Sizes. Each of `stacks` has `layers` layers, of dilation 1, kernel_size, kernel_size ** 2 ...

    Attributes:
        mel: config of the mel.
        speaker_dim: dimension of the speaker embedding; 0: not conditioned on one.
        stacks: how often the dilations are repeated.
        layers: per stack.
        kernel_size: of the dilated convolutions.
        channels: of the residual connections.
        skip: channels of the skip connections.
        condition: hidden channels of the conditioning network.
        classes: of the mu-law.
        temperature: of sampling; below 1 the output is less noisy.
    """

    mel: MelConfig = field(default_factory=MelConfig)
    speaker_dim: int = 163
    stacks: int = 3
    layers: int = 10
    kernel_size: int = 2
    channels: int = 64
    skip: int = 256
    condition: int = 128
    classes: int = 256
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.kernel_size < 2 or min(self.stacks, self.layers) < 1 or self.temperature <= 0:
            raise ValueError(
                "kernel_size must be 2 or more, stacks and layers 1 or more, temperature above 0, got "
                f"{self.kernel_size}, {self.stacks}, {self.layers} and {self.temperature}."
            )

    @property
    def dilations(self) -> tuple[int, ...]:
        """Dilation of each layer."""
        return tuple(self.kernel_size**i for i in range(self.layers)) * self.stacks

    @property
    def receptive_field(self) -> int:
        """Past samples that a sample depends on."""
        return 1 + (self.kernel_size - 1) * sum(self.dilations)


@dataclass(frozen=True)
class WaveNetState:
    """State of generation.

    Attributes:
        mel: normalized frames that are not generated yet, and `LOOKAHEAD` before them (B, n_mels, F).
        speaker: (B, S).
        buffers: past inputs of each layer (B, C, context).
        code: class of the last sample (B,).
        n_samples: generated so far.
    """

    mel: Tensor
    speaker: Tensor | None
    buffers: tuple[Tensor, ...]
    code: Tensor
    n_samples: int


class WaveNetLayer(nn.Module):
    """Gated dilated causal convolution with residual and skip connection.

    Shape:
        forward: x (B, C, T), bias of filter and gate (B, 2C, T) -> x (B, C, T), skip (B, S, T)
        step: one time step; x (B, C) is written to buffer (B, C, context + n) at `context + t`, bias (B, 2C)
            -> x (B, C), skip (B, S)
    """

    def __init__(self, channels: int, skip: int, kernel_size: int, dilation: int, *, last: bool):
        super().__init__()
        self.conv = StreamingConv1d(channels, 2 * channels, kernel_size, dilation=dilation, bias=False)
        self.sizes = [skip, 0 if last else channels]  # the residual output of the last layer is unused
        self.out = nn.Conv1d(channels, sum(self.sizes), 1)

    def forward(self, x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """All time steps: x (B, C, T), skip (B, S, T)."""
        skip, residual = torch.split(self.out(gated_activation(self.conv(x) + bias)), self.sizes, 1)
        return (x + residual if self.sizes[1] else x), skip

    def step(self, x: Tensor, buffer: Tensor, t: int, bias: Tensor) -> tuple[Tensor, Tensor]:
        """One time step: x (B, C), skip (B, S)."""
        context = self.conv.context
        buffer[:, :, context + t] = x
        inputs = buffer[:, :, t : t + context + 1 : self.conv.dilation].flatten(1)
        z = gated_activation(torch.addmm(bias, inputs, self.conv.conv.weight.flatten(1).t()))
        skip, residual = torch.split(F.linear(z, self.out.weight[..., 0], self.out.bias), self.sizes, 1)
        return (x + residual if self.sizes[1] else x), skip


class ConditioningNetwork(nn.Module):
    """Biases of every layer's filter and gate: mel (B, n_mels, F + 2 LOOKAHEAD), speaker -> (B, L, 2C, F)."""

    def __init__(self, c: WaveNetConfig):
        super().__init__()
        self.mel_conv = nn.Conv1d(c.mel.n_mels, c.condition, 2 * LOOKAHEAD + 1)
        self.speaker_proj = nn.Linear(c.speaker_dim, c.condition, bias=False) if c.speaker_dim else None
        self.out = nn.Conv1d(c.condition, len(c.dilations) * 2 * c.channels, 1)
        self.shape = (len(c.dilations), 2 * c.channels)

    def forward(self, mel: Tensor, speaker: Tensor | None) -> Tensor:
        """(B, n_mels, F + 2 LOOKAHEAD), (B, S) -> (B, L, 2C, F)."""
        x = self.mel_conv(mel)
        if self.speaker_proj is not None:
            assert speaker is not None, "the caller checks that a speaker embedding is given"
            x = x + self.speaker_proj(speaker).unsqueeze(-1)
        y: Tensor = self.out(F.gelu(x)).unflatten(1, self.shape)
        return y


class WaveNet(Vocoder):
    """Mel and speaker embedding to waveform, sample by sample.

    Shape:
        logits: codes (B, T_a), mel (B, n_mels, F), speaker (B, S) or None -> (B, classes, T_a) of each sample
            given those before; T_a = hop_length F
        forward, step, finish: see `Vocoder`
    """

    config_class = WaveNetConfig
    mel_mean: Tensor
    mel_std: Tensor
    noise_table: Tensor

    def __init__(self, config: WaveNetConfig | None = None):
        super().__init__()
        self.config = c = config or WaveNetConfig()
        self.mel, self.sample_rate = c.mel, c.mel.sample_rate
        self.needs = ("mel", "speaker") if c.speaker_dim else ("mel",)
        self.latency = LOOKAHEAD * c.mel.hop_length
        self.embedding = nn.Embedding(c.classes, c.channels)
        self.conditioning = ConditioningNetwork(c)
        self.layers = nn.ModuleList(
            WaveNetLayer(c.channels, c.skip, c.kernel_size, dilation, last=i == len(c.dilations) - 1)
            for i, dilation in enumerate(c.dilations)
        )
        self.out = nn.Sequential(
            nn.ReLU(), nn.Conv1d(c.skip, c.skip, 1), nn.ReLU(), nn.Conv1d(c.skip, c.classes, 1)
        )
        self.register_buffer("mel_mean", torch.zeros(c.mel.n_mels))
        self.register_buffer("mel_std", torch.ones(c.mel.n_mels))
        table = torch.rand(NOISE_TABLE_SIZE, generator=torch.Generator().manual_seed(0))
        self.register_buffer("noise_table", table, persistent=False)

    def logits(self, codes: Tensor, mel: Tensor, speaker: Tensor | None) -> Tensor:
        """Teacher-forced logits (B, classes, T_a) of every sample."""
        hop_length = self.mel.hop_length
        if codes.shape[-1] != mel.shape[-1] * hop_length:
            raise ValueError(
                f"codes must have {hop_length} samples for each of {mel.shape[-1]} mel frames, got "
                f"{codes.shape[-1]}."
            )
        previous = F.pad(codes, (1, 0), value=self.config.classes // 2)[:, :-1]
        x = self.embedding(previous).transpose(1, 2)  # (B, T, C) -> (B, C, T)
        biases = self.conditioning(F.pad(self.normalize(mel), (LOOKAHEAD, LOOKAHEAD)), speaker)
        skips = x.new_zeros(())
        for layer, bias in zip(self.layers, biases.unbind(1), strict=True):
            x, skip = layer(x, bias.repeat_interleave(hop_length, -1))
            skips = skips + skip
        logits: Tensor = self.out(skips / math.sqrt(len(self.layers)))
        return logits

    def forward(self, prediction: Prediction) -> Tensor:
        """Mel and speaker embedding -> wav (B, 1, 640 T)."""
        wav, state = self.step(prediction)
        return torch.cat([wav, self.finish(state)], -1)

    @torch.no_grad()
    def step(self, prediction: Prediction, state: WaveNetState | None = None) -> tuple[Tensor, WaveNetState]:
        """Append the next frames, generate all but the last `LOOKAHEAD`."""
        mel = self.normalize(prediction.require("mel"))
        if state is None:
            speaker = prediction.require("speaker").float() if self.config.speaker_dim else None
            state = self.initial_state(mel, speaker)
        return self.generate(replace(state, mel=torch.cat([state.mel, mel], -1)))

    @torch.no_grad()
    def finish(self, state: WaveNetState) -> Tensor:
        """The samples of the frames that are still buffered: (B, 1, n)."""
        return self.generate(replace(state, mel=F.pad(state.mel, (0, LOOKAHEAD))))[0]

    def normalize(self, mel: Tensor) -> Tensor:
        """(B, n_mels, F) with zero mean and unit variance; ValueError for another number of bands."""
        if mel.shape[1] != self.mel.n_mels:
            raise ValueError(
                f"the prediction's mel has {mel.shape[1]} bands, this WaveNet's {self.mel.n_mels}; "
                "use a vocoder that was trained on the model's mel."
            )
        return (mel.float() - self.mel_mean[:, None]) / self.mel_std[:, None]

    def initial_state(self, mel: Tensor, speaker: Tensor | None) -> WaveNetState:
        """Silence before the first of the frames (B, n_mels, F)."""
        batch, c = len(mel), self.config
        buffers = tuple(mel.new_zeros(batch, c.channels, layer.conv.context) for layer in self.gated_layers())
        code = torch.full((batch,), c.classes // 2, device=mel.device)
        return WaveNetState(mel.new_zeros(batch, c.mel.n_mels, LOOKAHEAD), speaker, buffers, code, 0)

    def generate(self, state: WaveNetState) -> tuple[Tensor, WaveNetState]:
        """All frames that have `LOOKAHEAD` frames after them -> wav (B, 1, n), state."""
        frames = state.mel.shape[-1] - 2 * LOOKAHEAD
        if frames < 1:
            return state.mel.new_zeros(len(state.mel), 1, 0), state
        codes = []
        for biases in self.conditioning(state.mel, state.speaker).unbind(-1):
            frame_codes, state = self.generate_frame(biases, state)
            codes.append(frame_codes)
        wav = mu_law_decode(torch.cat(codes, -1), self.config.classes)
        return wav.unsqueeze(1), replace(state, mel=state.mel[..., frames:])

    def generate_frame(self, biases: Tensor, state: WaveNetState) -> tuple[Tensor, WaveNetState]:
        """One mel frame: biases (B, L, 2C) -> codes (B, hop_length), state."""
        c, count, code = self.config, self.mel.hop_length, state.code
        buffers = [F.pad(buffer, (0, count)) for buffer in state.buffers]
        codes = []
        for t in range(count):
            logits = self.step_logits(code, buffers, t, biases) / c.temperature
            code = sample_class(logits, self.noise_table[(state.n_samples + t) % NOISE_TABLE_SIZE])
            codes.append(code)
        kept = tuple(buffer[..., count:] for buffer in buffers)
        state = WaveNetState(state.mel, state.speaker, kept, code, state.n_samples + count)
        return torch.stack(codes, -1), state

    def step_logits(self, code: Tensor, buffers: Sequence[Tensor], t: int, biases: Tensor) -> Tensor:
        """Logits (B, classes) of the sample after `code` (B,), the one at position `t` of the buffers."""
        x = self.embedding(code)
        skips = x.new_zeros(())
        for layer, buffer, bias in zip(self.gated_layers(), buffers, biases.unbind(1), strict=True):
            x, skip = layer.step(x, buffer, t, bias)
            skips = skips + skip
        logits: Tensor = self.out((skips / math.sqrt(len(self.layers))).unsqueeze(-1)).squeeze(-1)
        return logits

    def gated_layers(self) -> Iterator[WaveNetLayer]:
        """The layers, typed."""
        return cast(Iterator[WaveNetLayer], iter(self.layers))


def sample_class(logits: Tensor, uniform: Tensor) -> Tensor:
    """Classes (B,) drawn from logits (B, classes) by inverting the CDF at a uniform number () in 0..1."""
    cdf = logits.softmax(-1).cumsum(-1)
    return (cdf < uniform * cdf[:, -1:]).sum(-1)


def mu_law_encode(wav: Tensor, classes: int = 256) -> Tensor:
    """Samples in [-1, 1] -> classes 0 .. classes - 1 (int64), finer near silence (ITU-T G.711)."""
    mu = classes - 1
    companded = wav.sign() * torch.log1p(mu * wav.abs().clamp_max(1)) / math.log1p(mu)
    return ((companded + 1) / 2 * mu + 0.5).long()


def mu_law_decode(codes: Tensor, classes: int = 256) -> Tensor:
    """The center of each class: int64 -> float32 in [-1, 1]."""
    mu = classes - 1
    companded = 2 * codes.float() / mu - 1
    return companded.sign() * torch.expm1(companded.abs() * math.log1p(mu)) / mu
