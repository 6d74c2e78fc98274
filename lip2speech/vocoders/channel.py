"""The channel vocoder: pulses and breath, shaped by the mel's bands (Dudley 1939, "Remaking speech").

    pitch  -> pulses at F0; noise above `VOICED_HZ` where it is voiced, above `BREATH_HZ` where it is not
    mel    -> how loud each band of that source is to be, every 5 ms
    again  -> the bands of what came out are measured, and what they lack is made up for

A mel predicted from lips is the mean of many that would do, and has lost the fine structure that tells
Griffin-Lim of pitch; here pitch is given. Nothing is trained. Each sample depends on the mel some frames
around it, so `step` says exactly what `forward` says, `late` samples later.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from lip2speech.audio.mel import LogMel, MelConfig, band_edges, mel_filterbank
from lip2speech.audio.pitch import QUANTILES, REFERENCE_HZ
from lip2speech.models.prediction import Prediction
from lip2speech.vocoders.base import Vocoder

HOP = 80
"""Samples between the spectra that are shaped: half a mel frame, so that onsets stay sharp."""
VOICED_HZ, BREATH_HZ, SLOPE_HZ = 4500.0, 3000.0, 400.0
"""Above the first, voices are more breath than pulse; below the second, breath is left to those that whisper:
its bands swing by chance, and what is quiet suffers most. How fast one goes over into the other."""
DECIDED, LEANING = 6.0, 3.0
"""What the logit of voicing is multiplied by, for half voiced speech is hoarse, and what is added before:
where nobody can tell, a voice does less harm than breath. Chosen by ESTOI and PESQ on clips of no test."""
BREATH = 0.6
"""Of the noise that a band's mean would ask for. A predicted mel is the mean of many, and fills pauses of the
breath that each of them has; chosen by PESQ on talkers' clips of no test."""
MADE_UP = 0.75
"""Of what the bands lack: a predicted mel has no valleys between harmonics, and to fill them all is hoarse.
Chosen by PESQ on the same clips."""
LEAST_HZ = 50.0
RAYLEIGH = math.sqrt(math.pi) / 2
"""The mean size of a spectrum beside the root of its mean square, for noise."""
MOST_NATS = 3.0
"""By how much a band may be raised or lowered at a time."""
NOISE_SAMPLES = 1 << 16
"""After four seconds the breath begins anew: nobody hears that."""
CALMED, OVERLAP = 6, 2032
"""How often the swings of the breath's bands are taken back; samples read past its ends, which are one."""


@dataclass(frozen=True)
class ChannelVocoderState:
    """Frames that are not said yet, and those before them that still reach into them.

    mel (B, n_mels, L), pitch (B, 2, L); before: the pitch just before them, (B, 2, 0 or 1); phase: cycles of
    the pulses at their beginning, (B,) doubles on the CPU; hums: 1, or 0 for a voice without a pitch, (B,);
    first: which frame of the stream they begin with; said: how many of them are said.
    """

    mel: Tensor
    pitch: Tensor
    before: Tensor
    phase: Tensor
    hums: Tensor
    first: int
    said: int


class ChannelVocoder(Vocoder):
    """Pulses and noise through the bands of a mel.

    Args:
        mel: the recipe of the mel it is given.
        iterations: how often the bands are measured and made up for; each makes live speech 40 ms later.
    """

    needs = ("mel", "pitch")
    window: Tensor
    to_bins: Tensor
    widths: Tensor
    breath: Tensor
    share: Tensor
    least: Tensor

    def __init__(self, mel: MelConfig | None = None, iterations: int = 1):
        super().__init__()
        self.mel = c = mel or MelConfig()
        if not self.takes(c):
            raise ValueError(
                f'a channel vocoder takes mels of magnitudes with pad "same", a hop of {HOP} n, got {c}.'
            )
        self.log_mel, self.iterations, self.sample_rate = LogMel(c), iterations, c.sample_rate
        self.reach = 3 + 4 * iterations  # frames on either side that a sample depends on
        self.late = self.reach * c.hop_length
        filters = mel_filterbank(c)  # (n_fft // 2 + 1, n_mels)
        hz = torch.linspace(0, c.sample_rate / 2, len(filters))
        noise = torch.randn(NOISE_SAMPLES, generator=torch.Generator().manual_seed(0))
        constants = {
            "window": torch.hann_window(c.win_length),
            "to_bins": lines_between(band_edges(c)[1:-1].float(), hz),
            "widths": filters.sum(0).clamp_min(c.log_floor).log()[:, None],
            "breath": noise,
            "share": torch.sigmoid((VOICED_HZ - hz) / SLOPE_HZ)[:, None],
            "least": torch.sigmoid((BREATH_HZ - hz) / SLOPE_HZ)[:, None],
        }
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)
        for _ in range(CALMED):
            self.breath = self.calm(self.breath)

    @staticmethod
    def takes(mel: MelConfig) -> bool:
        """Whether mels of this recipe can be spoken."""
        return mel.pad == "same" and mel.power == 1 and mel.hop_length % HOP == 0

    def forward(self, prediction: Prediction) -> Tensor:
        return self.render(beginning(prediction))[0].unsqueeze(1)

    def step(
        self, prediction: Prediction, state: ChannelVocoderState | None = None
    ) -> tuple[Tensor, ChannelVocoderState]:
        """The next frames; all but the last `reach` are said."""
        held = beginning(prediction)
        if state is not None:
            mel, pitch = torch.cat([state.mel, held.mel], -1), torch.cat([state.pitch, held.pitch], -1)
            held = replace(state, mel=mel, pitch=pitch)
        end = max(held.said, held.mel.shape[-1] - self.reach)
        wav, turned = self.render(held)
        said = wav[:, None, held.said * self.mel.hop_length : end * self.mel.hop_length]
        return said, self.forget(held, turned, end)

    def finish(self, state: ChannelVocoderState) -> Tensor:
        """The frames that are still held: (B, 1, n)."""
        return self.render(state)[0][:, None, state.said * self.mel.hop_length :]

    def forget(self, held: ChannelVocoderState, turned: Tensor, end: int) -> ChannelVocoderState:
        """What is kept when the frames before `end` are said; `turned`: cycles at the end of each frame."""
        drop = max(0, end - self.reach)
        if not drop:
            return replace(held, said=end)
        mel, pitch = held.mel[..., drop:], held.pitch[..., drop:]
        before, phase = held.pitch[..., drop - 1 : drop], turned[:, drop - 1] % 1.0
        return ChannelVocoderState(mel, pitch, before, phase, held.hums, held.first + drop, end - drop)

    def render(self, held: ChannelVocoderState) -> tuple[Tensor, Tensor]:
        """All held frames as sound (B, T_a), and the cycles of the pulses at the end of each frame (B, L)."""
        mel, samples = held.mel, held.mel.shape[-1] * self.mel.hop_length
        pulses, turned = self.pulses(held)
        start = held.first * self.mel.hop_length % NOISE_SAMPLES
        breath = self.breath.roll(-start).repeat(1 + samples // NOISE_SAMPLES)[:samples]
        decided = self.stretch(torch.sigmoid(DECIDED * (held.pitch[:, 1:] + LEANING)))
        voiced = torch.lerp(self.least * held.hums[:, None, None], self.share, decided)
        noise = BREATH * self.spectrum(breath[None]) * (1 - voiced).sqrt()
        source = self.spectrum(pulses) * voiced.sqrt() + noise
        size = RAYLEIGH * self.window.square().sum().sqrt()
        shape = self.to_bins @ self.stretch(mel - self.widths)
        wav = self.sound(source * shape.exp() / size, samples)
        for _ in range(self.iterations):
            lacks = MADE_UP * (mel - self.log_mel(wav[:, None])).clamp(-MOST_NATS, MOST_NATS)
            wav = self.sound(self.spectrum(wav) * (self.to_bins @ self.stretch(lacks)).exp(), samples)
        return wav.clamp(-1, 1), turned

    @torch.no_grad()
    def calm(self, noise: Tensor) -> Tensor:
        """Noise (T_a,) whose bands swing less, of power 1; it goes round.

        Each band of white noise swings by itself as fast as its width, which is heard as roughness and mars
        the rise and fall that the mel asks for ("Low-noise noise", Pumplin 1985; here for each mel band).
        """
        wav = torch.cat([noise[-OVERLAP:], noise, noise[:OVERLAP]])[None]
        mel = self.log_mel(wav[:, None])
        lacks = mel.exp().mean(-1, keepdim=True).log() - mel
        wav = self.sound(self.spectrum(wav) * (self.to_bins @ self.stretch(lacks)).exp(), wav.shape[-1])
        calmer = wav[0, OVERLAP:-OVERLAP]
        return calmer / calmer.square().mean().sqrt()

    def pulses(self, held: ChannelVocoderState) -> tuple[Tensor, Tensor]:
        """Pulses of power 1 at the pitch of each sample (B, T_a), and the cycles at each frame's end (B, L).

        A pulse between two samples is shared by them.
        """
        hop_length, known = self.mel.hop_length, held.before.shape[-1]
        f0 = REFERENCE_HZ * torch.exp2(torch.cat([held.before, held.pitch], -1)[:, :1])
        f0 = F.interpolate(f0, scale_factor=float(hop_length), mode="linear")[:, 0, known * hop_length :]
        turn = f0.clamp_min(LEAST_HZ).cpu().double() / self.sample_rate  # not every device has doubles
        phase = held.phase[:, None] + turn.cumsum(-1)
        whole = phase.floor()
        new = whole > torch.cat([held.phase.floor()[:, None], whole[:, :-1]], -1)
        passed = (phase - whole) / turn
        size = turn.rsqrt() * new
        wav = size * (1 - passed)
        wav[:, :-1] += (size * passed)[:, 1:]
        return wav.float().to(f0.device), phase[:, hop_length - 1 :: hop_length]

    def stretch(self, frames: Tensor) -> Tensor:
        """Values of mel frames (B, C, L) on the clock of `spectrum`, (B, C, 2 L + 1), by lines."""
        count, ratio = frames.shape[-1], self.mel.hop_length // HOP
        at = (torch.arange(ratio * count + 1, device=frames.device) / ratio - 0.5).clamp(0, count - 1)
        low = at.floor().long()
        return torch.lerp(frames[..., low], frames[..., (low + 1).clamp_max(count - 1)], at - low)

    def spectrum(self, wav: Tensor) -> Tensor:
        """(B, T_a) -> (B, n_fft // 2 + 1, T_a // 80 + 1) complex."""
        c = self.mel
        return torch.stft(
            wav, c.n_fft, HOP, c.win_length, self.window,
            center=True, pad_mode="constant", return_complex=True,
        )  # fmt: skip

    def sound(self, spectrum: Tensor, samples: int) -> Tensor:
        """The inverse of `spectrum`: (B, samples)."""
        c = self.mel
        return torch.istft(spectrum, c.n_fft, HOP, c.win_length, self.window, center=True, length=samples)


def beginning(prediction: Prediction) -> ChannelVocoderState:
    """The first frames of a stream. A voice whose pitch quantiles are all 0 (`speaker.base`) has no pitch."""
    mel, pitch = prediction.require("mel").float(), prediction.require("pitch").float()
    hums, phase = mel.new_ones(len(mel)), torch.zeros(len(mel), dtype=torch.float64)
    if prediction.speaker is not None:
        hums = prediction.speaker[:, -len(QUANTILES) :].any(1).float()
    return ChannelVocoderState(mel, pitch, pitch[..., :0], phase, hums, 0, 0)


def lines_between(centres: Tensor, hz: Tensor) -> Tensor:
    """The matrix (bins, bands) that draws lines between values at the bands' centres and holds the ends."""
    after = torch.searchsorted(centres, hz).clamp(1, len(centres) - 1)
    left, right = centres[after - 1], centres[after]
    share = ((hz - left) / (right - left)).clamp(0, 1)
    matrix = torch.zeros(len(hz), len(centres))
    rows = torch.arange(len(hz))
    matrix[rows, after - 1] = 1 - share
    matrix[rows, after] += share
    return matrix
