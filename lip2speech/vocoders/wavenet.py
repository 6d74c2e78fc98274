"""WaveNet: every sample is drawn from what the samples before it, the mel and the voice make likely.

van den Oord et al. 2016, "WaveNet: a generative model for raw audio": 256 classes of mu-law (section 2.2),
gated causal layers whose dilation doubles (2.1, 2.3), residual and skip paths (2.4), conditions (2.5).

    the sample before  -> embedded -> gated layers of dilation 1, 2, 4 .. 512, and again
    mel and voice      -> what each layer's filter and gate are raised by in each mel frame
    skips of all layers added up -> ReLU, 1x1, ReLU, 1x1 -> logits of the classes

To sample, each layer keeps the inputs that its dilation still reaches, and one new column is computed (Le
Paine et al. 2016, "Fast WaveNet generation algorithm"). That is still a walk through all layers for each of
16000 samples a second: on a CPU slower than speech, so for files, not for talk. It does not know what made
the mel; one that is blurrier than those it was trained on makes it hoarse (see `train/vocoder.py`).
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
from lip2speech.modules.conv import StreamingConv1d
from lip2speech.vocoders.base import Vocoder

NAME = "wavenet"
AHEAD = 2
"""Mel frames on either side that the condition of a frame is made of."""
DRAWS = 1 << 16
"""Random numbers that a sound is drawn by, and then again: a clip always sounds the same."""


@dataclass(frozen=True)
class WaveNetConfig:
    """Sizes. Each of `stacks` has `layers` layers, of dilation 1, kernel_size, kernel_size ** 2 ...

    speaker_dim: numbers of a voice vector; 0: it is told no voice. temperature: below 1, likely samples are
    drawn more often than they are likely, which is less noisy.
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
                "a WaveNet needs kernel_size of 2 or more, a stack, a layer and a temperature above 0, got "
                f"{self.kernel_size}, {self.stacks}, {self.layers} and {self.temperature}."
            )

    @property
    def dilations(self) -> tuple[int, ...]:
        """Of all layers."""
        return tuple(self.kernel_size**i for i in range(self.layers)) * self.stacks

    @property
    def receptive_field(self) -> int:
        """How many samples back one sample still depends on."""
        return 1 + (self.kernel_size - 1) * sum(self.dilations)


@dataclass(frozen=True)
class WaveNetState:
    """Where a sound is.

    mel: frames that are not said yet, and `AHEAD` before them (B, n_mels, F), normal; speaker (B, S); tapes:
    what each layer still reaches back to (B, C, context); code: the last sample (B,); said: samples so far.
    """

    mel: Tensor
    speaker: Tensor | None
    tapes: tuple[Tensor, ...]
    code: Tensor
    said: int


class WaveNetLayer(nn.Module):
    """tanh(filter) x sigmoid(gate) of a dilated causal convolution; what it adds, and what skips the rest.

    Shape:
        forward: x (B, C, T), bias of filter and gate (B, 2C, T) -> x (B, C, T), skip (B, S, T)
        column: one sample; tape (B, C, context + n) gets x (B, C) at `context + t`, bias (B, 2C)
            -> x (B, C), skip (B, S)
    """

    def __init__(self, channels: int, skip: int, kernel_size: int, dilation: int, *, last: bool):
        super().__init__()
        self.conv = StreamingConv1d(channels, 2 * channels, kernel_size, dilation=dilation, bias=False)
        self.sizes = [skip, 0 if last else channels]  # nobody reads what the last layer would add
        self.out = nn.Conv1d(channels, sum(self.sizes), 1)

    def forward(self, x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        skip, more = self.out(gated(self.conv(x) + bias)).split(self.sizes, 1)
        return (x + more if self.sizes[1] else x), skip

    def column(self, x: Tensor, tape: Tensor, t: int, bias: Tensor) -> tuple[Tensor, Tensor]:
        """The same for sample `t` of the tape alone."""
        reach = self.conv.context
        tape[:, :, reach + t] = x
        seen = tape[:, :, t : t + reach + 1 : self.conv.dilation].flatten(1)
        z = gated(torch.addmm(bias, seen, self.conv.conv.weight.flatten(1).t()))
        skip, more = F.linear(z, self.out.weight[..., 0], self.out.bias).split(self.sizes, 1)
        return (x + more if self.sizes[1] else x), skip


class ConditioningNetwork(nn.Module):
    """What raises every layer's filter and gate: mel (B, n_mels, 2 AHEAD + F), speaker -> (B, L, 2C, F)."""

    def __init__(self, c: WaveNetConfig):
        super().__init__()
        self.near = nn.Conv1d(c.mel.n_mels, c.condition, 2 * AHEAD + 1)
        self.voice = nn.Linear(c.speaker_dim, c.condition, bias=False) if c.speaker_dim else None
        self.out = nn.Conv1d(c.condition, len(c.dilations) * 2 * c.channels, 1)
        self.shape = (len(c.dilations), 2 * c.channels)

    def forward(self, mel: Tensor, speaker: Tensor | None) -> Tensor:
        x = self.near(mel)
        if self.voice is not None:
            assert speaker is not None, "a voice is required before"
            x = x + self.voice(speaker).unsqueeze(-1)
        return self.out(F.gelu(x)).unflatten(1, self.shape)


class WaveNet(Vocoder):
    """Mel and voice to sound, sample by sample.

    Shape:
        logits: codes (B, T_a), mel (B, n_mels, F), speaker (B, S) or None -> (B, classes, T_a): of each
            sample, given those before it; T_a = hop_length F
        forward, step, finish: see `Vocoder`
    """

    mel_mean: Tensor
    mel_std: Tensor
    draws: Tensor

    def __init__(self, config: WaveNetConfig | None = None):
        super().__init__()
        self.config = c = config or WaveNetConfig()
        self.mel, self.sample_rate = c.mel, c.mel.sample_rate
        self.needs = ("mel", "speaker") if c.speaker_dim else ("mel",)
        self.late = AHEAD * c.mel.hop_length
        self.embed = nn.Embedding(c.classes, c.channels)
        self.condition = ConditioningNetwork(c)
        self.layers = nn.ModuleList(
            WaveNetLayer(c.channels, c.skip, c.kernel_size, dilation, last=i == len(c.dilations) - 1)
            for i, dilation in enumerate(c.dilations)
        )
        self.out = nn.Sequential(
            nn.ReLU(), nn.Conv1d(c.skip, c.skip, 1), nn.ReLU(), nn.Conv1d(c.skip, c.classes, 1)
        )
        self.register_buffer("mel_mean", torch.zeros(c.mel.n_mels))
        self.register_buffer("mel_std", torch.ones(c.mel.n_mels))
        draws = torch.rand(DRAWS, generator=torch.Generator().manual_seed(0))
        self.register_buffer("draws", draws, persistent=False)

    def logits(self, codes: Tensor, mel: Tensor, speaker: Tensor | None) -> Tensor:
        hop_length = self.mel.hop_length
        if codes.shape[-1] != mel.shape[-1] * hop_length:
            raise ValueError(
                f"codes must have {hop_length} samples for each of {mel.shape[-1]} mel frames, got "
                f"{codes.shape[-1]}."
            )
        before = F.pad(codes, (1, 0), value=self.config.classes // 2)[:, :-1]
        x = self.embed(before).transpose(1, 2)  # (B, T, C) -> (B, C, T)
        biases = self.condition(F.pad(self.normal(mel), (AHEAD, AHEAD)), speaker)
        skips = x.new_zeros(())
        for layer, bias in zip(self.layers, biases.unbind(1), strict=True):
            x, skip = layer(x, bias.repeat_interleave(hop_length, -1))
            skips = skips + skip
        return self.out(skips / math.sqrt(len(self.layers)))

    def forward(self, prediction: Prediction) -> Tensor:
        wav, state = self.step(prediction)
        return torch.cat([wav, self.finish(state)], -1)

    @torch.no_grad()
    def step(self, prediction: Prediction, state: WaveNetState | None = None) -> tuple[Tensor, WaveNetState]:
        """The next frames; all but the last `AHEAD` are said."""
        mel = self.normal(prediction.require("mel"))
        if state is None:
            speaker = prediction.require("speaker").float() if self.config.speaker_dim else None
            state = self.beginning(mel, speaker)
        return self.say(replace(state, mel=torch.cat([state.mel, mel], -1)))

    @torch.no_grad()
    def finish(self, state: WaveNetState) -> Tensor:
        """The frames that are still held: (B, 1, n)."""
        return self.say(replace(state, mel=F.pad(state.mel, (0, AHEAD))))[0]

    def normal(self, mel: Tensor) -> Tensor:
        """(B, n_mels, F) as the network likes it; ValueError when it has other bands."""
        if mel.shape[1] != self.mel.n_mels:
            raise ValueError(
                f"the prediction's mel has {mel.shape[1]} bands, this WaveNet's {self.mel.n_mels}; "
                "give a vocoder that was trained on the model's mel."
            )
        return (mel.float() - self.mel_mean[:, None]) / self.mel_std[:, None]

    def beginning(self, mel: Tensor, speaker: Tensor | None) -> WaveNetState:
        """Before the first of the frames (B, n_mels, F): silence."""
        batch, c = len(mel), self.config
        tapes = tuple(mel.new_zeros(batch, c.channels, layer.conv.context) for layer in self.gated_layers())
        code = torch.full((batch,), c.classes // 2, device=mel.device)
        return WaveNetState(mel.new_zeros(batch, c.mel.n_mels, AHEAD), speaker, tapes, code, 0)

    def say(self, state: WaveNetState) -> tuple[Tensor, WaveNetState]:
        """All frames that have `AHEAD` frames after them -> wav (B, 1, n), state."""
        frames = state.mel.shape[-1] - 2 * AHEAD
        if frames < 1:
            return state.mel.new_zeros(len(state.mel), 1, 0), state
        codes = []
        for biases in self.condition(state.mel, state.speaker).unbind(-1):
            said, state = self.say_frame(biases, state)
            codes.append(said)
        wav = mu_law_decode(torch.cat(codes, -1), self.config.classes)
        return wav.unsqueeze(1), replace(state, mel=state.mel[..., frames:])

    def say_frame(self, biases: Tensor, state: WaveNetState) -> tuple[Tensor, WaveNetState]:
        """One mel frame: biases (B, L, 2C) -> codes (B, hop_length), state."""
        c, count, code = self.config, self.mel.hop_length, state.code
        tapes = [F.pad(tape, (0, count)) for tape in state.tapes]
        codes = []
        for t in range(count):
            logits = self.column(code, tapes, t, biases) / c.temperature
            code = draw(logits, self.draws[(state.said + t) % DRAWS])
            codes.append(code)
        kept = tuple(tape[..., count:] for tape in tapes)
        return torch.stack(codes, -1), WaveNetState(state.mel, state.speaker, kept, code, state.said + count)

    def column(self, code: Tensor, tapes: Sequence[Tensor], t: int, biases: Tensor) -> Tensor:
        """Logits (B, classes) of the sample after `code` (B,), the one at `t` of the tapes."""
        x = self.embed(code)
        skips = x.new_zeros(())
        for layer, tape, bias in zip(self.gated_layers(), tapes, biases.unbind(1), strict=True):
            x, skip = layer.column(x, tape, t, bias)
            skips = skips + skip
        return self.out((skips / math.sqrt(len(self.layers))).unsqueeze(-1)).squeeze(-1)

    def gated_layers(self) -> Iterator[WaveNetLayer]:
        """The layers by their type."""
        return cast(Iterator[WaveNetLayer], iter(self.layers))


def gated(x: Tensor) -> Tensor:
    """(B, 2C, ...) -> (B, C, ...): a filter that its gate lets through (section 2.3)."""
    filtered, gate = x.chunk(2, 1)
    return filtered.tanh() * gate.sigmoid()


def draw(logits: Tensor, number: Tensor) -> Tensor:
    """The classes (B,) of logits (B, classes) in whose share of 0 to 1 the number () lies."""
    upto = logits.softmax(-1).cumsum(-1)
    return (upto < number * upto[:, -1:]).sum(-1)


def mu_law_encode(wav: Tensor, classes: int = 256) -> Tensor:
    """Samples in [-1, 1] -> classes 0 .. classes - 1 (int64), finer near silence (ITU-T G.711)."""
    mu = classes - 1
    bent = wav.sign() * torch.log1p(mu * wav.abs().clamp_max(1)) / math.log1p(mu)
    return ((bent + 1) / 2 * mu + 0.5).long()


def mu_law_decode(codes: Tensor, classes: int = 256) -> Tensor:
    """The middle of each class: int64 -> float32 in [-1, 1]."""
    mu = classes - 1
    bent = 2 * codes.float() / mu - 1
    return bent.sign() * torch.expm1(bent.abs() * math.log1p(mu)) / mu
