"""Griffin-Lim: sound from a mel, nothing trained (Griffin and Lim 1984; momentum: Perraudin et al. 2013).

Live, phases are settled a few frames after they come and never touched again: iterative inversion with
look-ahead (RTISI-LA, Zhu, Beauregard and Wyse 2007, section III).

    said for good   |~~~~~~~~~~~~~~~~~~ tail
    open frames                [ t ][t+1][t+2]     iterated at every step
    step            the oldest close, `ahead` stay open
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torchaudio.functional import griffinlim

from lip2speech.audio.mel import MelConfig, mel_to_linear
from lip2speech.models.prediction import Prediction
from lip2speech.vocoders.base import Vocoder

MOMENTUM = 0.99
LEAST_WEIGHT = 1e-3  # of overlapping windows; below it there is next to no sound to divide


@dataclass(frozen=True)
class GriffinLimState:
    """What a live inversion has not said yet.

    tail: sound of closed frames that reaches into the open ones (B, win_length - hop_length), with the
    weight of its windows. magnitude, spectrum: of the open frames (B, F, L). early: samples of the first
    window that lie before the sound.
    """

    tail: Tensor
    weight: Tensor
    magnitude: Tensor
    spectrum: Tensor
    early: int


class GriffinLim(Vocoder):
    """Estimates the phase of a predicted mel by alternating projections.

    Args:
        mel: the recipe of the mel it is given.
        iterations: projections; the gain beyond 32 is small.
        ahead: mel frames that stay open at a step: 3 are 30 ms.
    """

    needs = ("mel",)
    window: Tensor

    def __init__(self, mel: MelConfig | None = None, iterations: int = 32, ahead: int = 3):
        super().__init__()
        self.mel = mel or MelConfig()
        self.iterations, self.ahead = iterations, ahead
        self.sample_rate = self.mel.sample_rate
        # samples by which a frame's window begins before the frame
        self.early = (self.mel.win_length - self.mel.hop_length) // 2
        self.late = ahead * self.mel.hop_length + self.early
        self.register_buffer("window", torch.hann_window(self.mel.win_length), persistent=False)

    def forward(self, prediction: Prediction) -> Tensor:
        mel = prediction.require("mel")  # (B, n_mels, F)
        c = self.mel
        linear = mel_to_linear(mel.float(), c)  # (B, n_fft // 2 + 1, F)
        linear = torch.cat([linear, linear[..., -1:]], -1)  # F + 1 centred frames span F hops
        wav = griffinlim(
            linear,
            window=self.window,
            n_fft=c.n_fft,
            hop_length=c.hop_length,
            win_length=c.win_length,
            power=c.power,
            n_iter=self.iterations,
            momentum=MOMENTUM,
            length=mel.shape[-1] * c.hop_length,
            rand_init=False,
        )
        shift = c.hop_length // 2  # frame i of the "same"-padded mel is centred half a hop after i * hop
        wav = F.pad(wav, (shift, 0))[..., :-shift] if c.pad == "same" else wav
        return wav.clamp(-1, 1).unsqueeze(1)

    def step(
        self, prediction: Prediction, state: GriffinLimState | None = None
    ) -> tuple[Tensor, GriffinLimState]:
        """The next frames: their magnitudes join the open ones, all are iterated, the oldest are said."""
        if self.mel.pad != "same" or self.mel.power != 1:
            raise ValueError('only mels of magnitudes with pad "same" run step by step; run the whole clip.')
        magnitude = mel_to_linear(prediction.require("mel").float(), self.mel)
        state = state or self.start(magnitude)
        spectrum = torch.cat([state.spectrum, magnitude.to(torch.complex64)], -1)
        magnitude = torch.cat([state.magnitude, magnitude], -1)
        spectrum = self.settle(spectrum, magnitude, state)
        return self.close(spectrum, magnitude, state, max(0, magnitude.shape[-1] - self.ahead))

    def finish(self, state: GriffinLimState) -> Tensor:
        """The sound of the frames that are still open: (B, 1, n)."""
        wav, last = self.close(state.spectrum, state.magnitude, state, state.magnitude.shape[-1])
        rest = last.tail / last.weight.clamp_min(LEAST_WEIGHT)
        missing = self.early - last.early
        return torch.cat([wav, rest[:, None, :missing].clamp(-1, 1)], -1)

    def start(self, magnitude: Tensor) -> GriffinLimState:
        """Before the first frame: silence."""
        tail = magnitude.new_zeros(len(magnitude), self.mel.win_length - self.mel.hop_length)
        none = magnitude[..., :0]
        return GriffinLimState(tail, tail[0], none, none.to(torch.complex64), self.early)

    def settle(self, spectrum: Tensor, magnitude: Tensor, state: GriffinLimState) -> Tensor:
        """The open frames' spectrum with better phases: (B, F, L) complex, (B, F, L) -> (B, F, L) complex."""
        c, before = self.mel, torch.zeros_like(spectrum)
        weight = self.overlap(self.squares(magnitude.shape[-1]), state.weight[None]).clamp_min(LEAST_WEIGHT)
        for _ in range(self.iterations):
            wav = self.overlap(self.pieces(spectrum), state.tail) / weight
            frames = wav.unfold(-1, c.win_length, c.hop_length) * self.window
            found = torch.fft.rfft(frames, c.n_fft).transpose(1, 2)
            mixed = found - before * (MOMENTUM / (1 + MOMENTUM))
            spectrum, before = magnitude * mixed / mixed.abs().clamp_min(1e-16), found
        return spectrum

    def close(
        self, spectrum: Tensor, magnitude: Tensor, state: GriffinLimState, count: int
    ) -> tuple[Tensor, GriffinLimState]:
        """Say the first `count` open frames for good."""
        end, drop = count * self.mel.hop_length, min(state.early, count * self.mel.hop_length)
        wav, weight = state.tail, state.weight
        if count:
            wav = self.overlap(self.pieces(spectrum[..., :count]), wav)
            weight = self.overlap(self.squares(count), weight[None])[0]
        said = wav[:, drop:end] / weight[drop:end].clamp_min(LEAST_WEIGHT)
        rest = GriffinLimState(
            wav[:, end:], weight[end:], magnitude[..., count:], spectrum[..., count:], state.early - drop
        )
        return said[:, None].clamp(-1, 1), rest

    def pieces(self, spectrum: Tensor) -> Tensor:
        """(B, F, L) complex -> the windowed sound of each frame (B, L, win_length)."""
        wav = torch.fft.irfft(spectrum.transpose(1, 2), self.mel.n_fft)
        return wav[..., : self.mel.win_length] * self.window

    def squares(self, count: int) -> Tensor:
        """The weight of `count` windows: (1, count, win_length)."""
        return self.window.square().expand(1, count, -1)

    def overlap(self, pieces: Tensor, tail: Tensor) -> Tensor:
        """Pieces (B, L, win_length), one every hop, added to the tail that reaches into them -> (B, T_a)."""
        hop_length, win_length = self.mel.hop_length, self.mel.win_length
        size = (pieces.shape[1] - 1) * hop_length + win_length
        wav = F.fold(pieces.transpose(1, 2), (1, size), (1, win_length), stride=(1, hop_length))[:, 0, 0]
        return wav + F.pad(tail, (0, size - tail.shape[-1]))
