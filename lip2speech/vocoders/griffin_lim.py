"""Griffin-Lim: waveform from a mel without training (Griffin and Lim 1984; momentum: Perraudin et al. 2013).

In streaming, the phase of a frame is refined while later frames arrive, then fixed: real-time iterative
spectrogram inversion with look-ahead (RTISI-LA, Zhu, Beauregard and Wyse 2007, section III).

    committed       |~~~~~~~~~~~~~~~~~~ tail
    open frames                [ t ][t+1][t+2]     refined at every step
    step            commits the oldest, `lookahead` stay open
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torchaudio.functional import griffinlim

from lip2speech.audio.mel import MelConfig, mel_to_linear
from lip2speech.models.prediction import Prediction
from lip2speech.modules.overlap_add import overlap_add
from lip2speech.vocoders.base import Vocoder

MOMENTUM = 0.99
MIN_WEIGHT = 1e-3  # of overlapping windows; below it there is almost no signal to divide


@dataclass(frozen=True)
class GriffinLimState:
    """What a streaming inversion has not output yet.

    Attributes:
        tail: samples of committed frames that overlap the open ones (B, win_length - hop_length).
        weight: energy of their windows (win_length - hop_length,).
        magnitude: of the open frames (B, F, L).
        spectrum: of the open frames (B, F, L) complex.
        lead_samples: samples of the first window that precede the output.
    """

    tail: Tensor
    weight: Tensor
    magnitude: Tensor
    spectrum: Tensor
    lead_samples: int


class GriffinLim(Vocoder):
    """Estimates the phase of a predicted mel by alternating projections.

    Args:
        mel: config of the mel.
        iterations: projections; the gain beyond 32 is small.
        lookahead: mel frames that stay open in streaming: 3 are 30 ms.
    """

    needs = ("mel",)
    window: Tensor

    def __init__(self, mel: MelConfig | None = None, iterations: int = 32, lookahead: int = 3):
        super().__init__()
        self.mel = mel or MelConfig()
        self.iterations, self.lookahead = iterations, lookahead
        self.sample_rate = self.mel.sample_rate
        # Samples by which the window of a frame begins before the frame.
        self.lead_samples = (self.mel.win_length - self.mel.hop_length) // 2
        self.latency = lookahead * self.mel.hop_length + self.lead_samples
        self.register_buffer("window", torch.hann_window(self.mel.win_length), persistent=False)

    def forward(self, prediction: Prediction) -> Tensor:
        """Mel -> wav (B, 1, 640 T)."""
        mel = prediction.require("mel")  # (B, n_mels, F)
        c = self.mel
        linear = mel_to_linear(mel.float(), c)  # (B, n_fft // 2 + 1, F)
        linear = torch.cat([linear, linear[..., -1:]], -1)  # F + 1 centered frames span F hops
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
        shift = c.hop_length // 2  # frame i of the "same"-padded mel is centered half a hop after i * hop
        wav = F.pad(wav, (shift, 0))[..., :-shift] if c.pad == "same" else wav
        return wav.clamp(-1, 1).unsqueeze(1)

    def step(
        self, prediction: Prediction, state: GriffinLimState | None = None
    ) -> tuple[Tensor, GriffinLimState]:
        """Append the next frames to the open ones, refine all of them, commit the oldest."""
        if self.mel.pad != "same" or self.mel.power != 1:
            raise ValueError('only magnitude mels with pad "same" stream; synthesize the whole clip.')
        magnitude = mel_to_linear(prediction.require("mel").float(), self.mel)
        state = state or self.initial_state(magnitude)
        spectrum = torch.cat([state.spectrum, magnitude.to(torch.complex64)], -1)
        magnitude = torch.cat([state.magnitude, magnitude], -1)
        spectrum = self.refine_phase(spectrum, magnitude, state)
        return self.commit(spectrum, magnitude, state, max(0, magnitude.shape[-1] - self.lookahead))

    def finish(self, state: GriffinLimState) -> Tensor:
        """The samples of the frames that are still open: (B, 1, n)."""
        wav, last = self.commit(state.spectrum, state.magnitude, state, state.magnitude.shape[-1])
        rest = last.tail / last.weight.clamp_min(MIN_WEIGHT)
        missing = self.lead_samples - last.lead_samples
        return torch.cat([wav, rest[:, None, :missing].clamp(-1, 1)], -1)

    def initial_state(self, magnitude: Tensor) -> GriffinLimState:
        """Silence before the first frame of (B, F, L)."""
        tail = magnitude.new_zeros(len(magnitude), self.mel.win_length - self.mel.hop_length)
        empty = magnitude[..., :0]
        return GriffinLimState(tail, tail[0], empty, empty.to(torch.complex64), self.lead_samples)

    def refine_phase(self, spectrum: Tensor, magnitude: Tensor, state: GriffinLimState) -> Tensor:
        """Iterate the phase of the open frames: (B, F, L) complex, (B, F, L) -> (B, F, L) complex."""
        c, previous = self.mel, torch.zeros_like(spectrum)
        n_frames = magnitude.shape[-1]
        weight = self.overlap_add(self.window_energy(n_frames), state.weight[None]).clamp_min(MIN_WEIGHT)
        for _ in range(self.iterations):
            wav = self.overlap_add(self.frames(spectrum), state.tail) / weight
            frames = wav.unfold(-1, c.win_length, c.hop_length) * self.window
            rebuilt = torch.fft.rfft(frames, c.n_fft).transpose(1, 2)
            accelerated = rebuilt - previous * (MOMENTUM / (1 + MOMENTUM))
            spectrum = magnitude * accelerated / accelerated.abs().clamp_min(1e-16)
            previous = rebuilt
        return spectrum

    def commit(
        self, spectrum: Tensor, magnitude: Tensor, state: GriffinLimState, count: int
    ) -> tuple[Tensor, GriffinLimState]:
        """Output the first `count` open frames: wav (B, 1, n), state."""
        end = count * self.mel.hop_length
        drop = min(state.lead_samples, end)
        wav, weight = state.tail, state.weight
        if count:
            wav = self.overlap_add(self.frames(spectrum[..., :count]), wav)
            weight = self.overlap_add(self.window_energy(count), weight[None])[0]
        output = wav[:, drop:end] / weight[drop:end].clamp_min(MIN_WEIGHT)
        rest = GriffinLimState(
            wav[:, end:],
            weight[end:],
            magnitude[..., count:],
            spectrum[..., count:],
            state.lead_samples - drop,
        )
        return output[:, None].clamp(-1, 1), rest

    def frames(self, spectrum: Tensor) -> Tensor:
        """(B, F, L) complex -> windowed frames (B, L, win_length)."""
        wav = torch.fft.irfft(spectrum.transpose(1, 2), self.mel.n_fft)
        frames: Tensor = wav[..., : self.mel.win_length] * self.window
        return frames

    def window_energy(self, count: int) -> Tensor:
        """The squares of `count` windows: (1, count, win_length)."""
        return self.window.square().expand(1, count, -1)

    def overlap_add(self, frames: Tensor, tail: Tensor) -> Tensor:
        """Frames (B, L, win_length), one per hop, added to the tail that overlaps them -> (B, T_a)."""
        wav = overlap_add(frames.transpose(1, 2), self.mel.hop_length)
        return wav + F.pad(tail, (0, wav.shape[-1] - tail.shape[-1]))
