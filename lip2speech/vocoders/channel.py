"""Channel vocoder: pulses and noise, shaped by the bands of the mel (Dudley 1939, "Remaking speech").

    pitch       -> pulse train at F0; noise above VOICED_CUTOFF_HZ in voiced frames, above UNVOICED_CUTOFF_HZ
    in others mel         -> gain of each band of that excitation, every 5 ms correction  -> the bands of the
    result are measured, and part of the difference to the mel is applied

A mel predicted from lips is the mean of many plausible ones and lacks the fine structure from which
Griffin-Lim recovers pitch; here pitch is an input. Nothing is trained. Each sample depends on a few mel
frames around it, so `step` gives the same samples as `forward`, `latency` samples later.
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
VOICED_CUTOFF_HZ, UNVOICED_CUTOFF_HZ, CUTOFF_WIDTH_HZ = 4500.0, 3000.0, 400.0
"""Excitation is noise above the cutoff, with a smooth transition. In unvoiced frames the part below stays
periodic unless the speaker whispers: the bands of noise fluctuate, which hurts quiet ones most."""
VOICING_SLOPE, VOICING_BIAS = 6.0, 3.0
"""Voicing = sigmoid(slope * (logit + bias)): half-voiced speech sounds hoarse, so decisions are sharpened;
when voicing is ambiguous, voiced excitation is less harmful than noise. Chosen by ESTOI and PESQ on clips
outside the test sets."""
NOISE_GAIN = 0.6
"""Below the gain that the mean of a band asks for: a predicted mel is the mean of many, and fills pauses with
the noise that each of them has. Chosen by PESQ on synthetic clips outside the test sets."""
CORRECTION = 0.75
"""Share of the difference to the mel that is corrected: a predicted mel has no valleys between harmonics, and
filling all of them sounds hoarse. Chosen by PESQ on the same clips."""
MAX_CORRECTION = 3.0
"""Largest correction of a band at a time, in nats."""
MIN_F0 = 50.0
RAYLEIGH = math.sqrt(math.pi) / 2
"""Ratio of the mean magnitude of a noise spectrum to its root mean square."""
NOISE_SAMPLES = 1 << 16
"""The noise repeats after four seconds, which is inaudible."""
FLATTENING_ITERATIONS, OVERLAP = 6, 2032
"""Iterations that flatten the band envelopes of the noise; samples of circular overlap at its ends."""


@dataclass(frozen=True)
class ChannelVocoderState:
    """Frames that are not output yet, and those before them that still influence them.

    Attributes:
        mel: (B, n_mels, L).
        pitch: (B, 2, L).
        previous_pitch: pitch of the frame before them, (B, 2, 0 or 1).
        phase: of the pulse train at their start, in cycles, (B,) float64 on the CPU.
        voiced_speaker: 1, or 0 for a speaker without pitch (whispering), (B,).
        first_frame: index of the first of them in the stream.
        n_output: how many of them are already output.
    """

    mel: Tensor
    pitch: Tensor
    previous_pitch: Tensor
    phase: Tensor
    voiced_speaker: Tensor
    first_frame: int
    n_output: int


class ChannelVocoder(Vocoder):
    """Pulses and noise through the bands of a mel.

    Args:
        mel: config of the mel.
        iterations: of the band correction; each adds 40 ms of latency in streaming.
    """

    needs = ("mel", "pitch")
    window: Tensor
    mel_to_bins: Tensor
    log_band_width: Tensor
    noise: Tensor
    voiced_cutoff: Tensor
    unvoiced_cutoff: Tensor

    def __init__(self, mel: MelConfig | None = None, iterations: int = 1):
        super().__init__()
        self.mel = c = mel or MelConfig()
        if not self.supports(c):
            raise ValueError(
                'the channel vocoder needs magnitude mels with pad "same" and a hop_length that is a '
                f"multiple of {HOP}, got {c}."
            )
        self.log_mel, self.iterations, self.sample_rate = LogMel(c), iterations, c.sample_rate
        self.context = 3 + 4 * iterations  # frames on either side that a sample depends on
        self.latency = self.context * c.hop_length
        filters = mel_filterbank(c)  # (n_fft // 2 + 1, n_mels)
        hz = torch.linspace(0, c.sample_rate / 2, len(filters))
        constants = {
            "window": torch.hann_window(c.win_length),
            "mel_to_bins": interpolation_matrix(band_edges(c)[1:-1].float(), hz),
            "log_band_width": filters.sum(0).clamp_min(c.log_floor).log()[:, None],
            "noise": torch.randn(NOISE_SAMPLES, generator=torch.Generator().manual_seed(0)),
            "voiced_cutoff": torch.sigmoid((VOICED_CUTOFF_HZ - hz) / CUTOFF_WIDTH_HZ)[:, None],
            "unvoiced_cutoff": torch.sigmoid((UNVOICED_CUTOFF_HZ - hz) / CUTOFF_WIDTH_HZ)[:, None],
        }
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)
        for _ in range(FLATTENING_ITERATIONS):
            self.noise = self.flatten_noise_envelope(self.noise)

    @staticmethod
    def supports(mel: MelConfig) -> bool:
        """Whether mels of this config can be synthesized."""
        return mel.pad == "same" and mel.power == 1 and mel.hop_length % HOP == 0

    def forward(self, prediction: Prediction) -> Tensor:
        """Mel and pitch -> wav (B, 1, 640 T)."""
        return self.synthesize(initial_state(prediction))[0].unsqueeze(1)

    def step(
        self, prediction: Prediction, state: ChannelVocoderState | None = None
    ) -> tuple[Tensor, ChannelVocoderState]:
        """Append the next frames, output all but the last `context`."""
        buffered = initial_state(prediction)
        if state is not None:
            mel = torch.cat([state.mel, buffered.mel], -1)
            pitch = torch.cat([state.pitch, buffered.pitch], -1)
            buffered = replace(state, mel=mel, pitch=pitch)
        end = max(buffered.n_output, buffered.mel.shape[-1] - self.context)
        wav, phase = self.synthesize(buffered)
        output = wav[:, None, buffered.n_output * self.mel.hop_length : end * self.mel.hop_length]
        return output, self.advance(buffered, phase, end)

    def finish(self, state: ChannelVocoderState) -> Tensor:
        """The samples of the frames that are still buffered: (B, 1, n)."""
        return self.synthesize(state)[0][:, None, state.n_output * self.mel.hop_length :]

    def advance(self, state: ChannelVocoderState, phase: Tensor, end: int) -> ChannelVocoderState:
        """The state after frames up to `end` are output; `phase`: cycles at the end of each frame (B, L)."""
        drop = max(0, end - self.context)
        if not drop:
            return replace(state, n_output=end)
        return ChannelVocoderState(
            state.mel[..., drop:],
            state.pitch[..., drop:],
            previous_pitch=state.pitch[..., drop - 1 : drop],
            phase=phase[:, drop - 1] % 1.0,
            voiced_speaker=state.voiced_speaker,
            first_frame=state.first_frame + drop,
            n_output=end - drop,
        )

    def synthesize(self, state: ChannelVocoderState) -> tuple[Tensor, Tensor]:
        """All buffered frames as wav (B, T_a), and the phase at the end of each frame in cycles (B, L)."""
        mel, samples = state.mel, state.mel.shape[-1] * self.mel.hop_length
        excitation, phase = self.excitation(state, samples)
        rms = RAYLEIGH * self.window.square().sum().sqrt()
        envelope = self.mel_to_bins @ self.interpolate(mel - self.log_band_width)
        wav = self.istft(excitation * envelope.exp() / rms, samples)
        for _ in range(self.iterations):
            difference = mel - self.log_mel(wav[:, None])
            correction = CORRECTION * difference.clamp(-MAX_CORRECTION, MAX_CORRECTION)
            wav = self.istft(
                self.stft(wav) * (self.mel_to_bins @ self.interpolate(correction)).exp(), samples
            )
        return wav.clamp(-1, 1), phase

    def excitation(self, state: ChannelVocoderState, samples: int) -> tuple[Tensor, Tensor]:
        """Spectrum of pulses and noise (B, n_fft // 2 + 1, 2 L + 1), and the phase as in `synthesize`."""
        pulses, phase = self.pulse_train(state)
        start = state.first_frame * self.mel.hop_length % NOISE_SAMPLES
        noise = self.noise.roll(-start).repeat(1 + samples // NOISE_SAMPLES)[:samples]
        voicing = self.interpolate(torch.sigmoid(VOICING_SLOPE * (state.pitch[:, 1:] + VOICING_BIAS)))
        unvoiced = self.unvoiced_cutoff * state.voiced_speaker[:, None, None]
        periodic = torch.lerp(unvoiced, self.voiced_cutoff, voicing)
        noise_part = NOISE_GAIN * self.stft(noise[None]) * (1 - periodic).sqrt()
        return self.stft(pulses) * periodic.sqrt() + noise_part, phase

    @torch.no_grad()
    def flatten_noise_envelope(self, noise: Tensor) -> Tensor:
        """Circular noise (T_a,) whose band envelopes fluctuate less, of power 1.

        The envelope of each band of white noise fluctuates at a rate given by its bandwidth, which sounds
        rough and masks the modulation that the mel asks for ("Low-noise noise", Pumplin 1985; here for each
        mel band).
        """
        wav = torch.cat([noise[-OVERLAP:], noise, noise[:OVERLAP]])[None]
        mel = self.log_mel(wav[:, None])
        correction = mel.exp().mean(-1, keepdim=True).log() - mel
        gain = (self.mel_to_bins @ self.interpolate(correction)).exp()
        wav = self.istft(self.stft(wav) * gain, wav.shape[-1])
        flattened = wav[0, OVERLAP:-OVERLAP]
        return flattened / flattened.square().mean().sqrt()

    def pulse_train(self, state: ChannelVocoderState) -> tuple[Tensor, Tensor]:
        """Pulses of power 1 at the F0 of each sample (B, T_a), and the phase as in `synthesize`.

        A pulse between two samples is split between them.
        """
        hop_length, n_previous = self.mel.hop_length, state.previous_pitch.shape[-1]
        f0 = REFERENCE_HZ * torch.exp2(torch.cat([state.previous_pitch, state.pitch], -1)[:, :1])
        f0 = F.interpolate(f0, scale_factor=float(hop_length), mode="linear")[:, 0, n_previous * hop_length :]
        increment = f0.clamp_min(MIN_F0).cpu().double() / self.sample_rate  # not every device has float64
        phase = state.phase[:, None] + increment.cumsum(-1)
        cycle = phase.floor()
        starts = cycle > torch.cat([state.phase.floor()[:, None], cycle[:, :-1]], -1)
        delay = (phase - cycle) / increment
        size = increment.rsqrt() * starts
        wav = size * (1 - delay)
        wav[:, :-1] += (size * delay)[:, 1:]
        return wav.float().to(f0.device), phase[:, hop_length - 1 :: hop_length]

    def interpolate(self, frames: Tensor) -> Tensor:
        """Values per mel frame (B, C, L), linearly interpolated at the frames of `stft`: (B, C, 2 L + 1)."""
        count, ratio = frames.shape[-1], self.mel.hop_length // HOP
        position = (torch.arange(ratio * count + 1, device=frames.device) / ratio - 0.5).clamp(0, count - 1)
        low = position.floor().long()
        return torch.lerp(frames[..., low], frames[..., (low + 1).clamp_max(count - 1)], position - low)

    def stft(self, wav: Tensor) -> Tensor:
        """(B, T_a) -> (B, n_fft // 2 + 1, T_a // 80 + 1) complex."""
        c = self.mel
        return torch.stft(
            wav, c.n_fft, HOP, c.win_length, self.window,
            center=True, pad_mode="constant", return_complex=True,
        )  # fmt: skip

    def istft(self, spectrum: Tensor, samples: int) -> Tensor:
        """The inverse of `stft`: (B, samples)."""
        c = self.mel
        return torch.istft(spectrum, c.n_fft, HOP, c.win_length, self.window, center=True, length=samples)


def initial_state(prediction: Prediction) -> ChannelVocoderState:
    """The first frames of a stream. A speaker whose pitch quantiles are all 0 has no pitch (whispers)."""
    mel, pitch = prediction.require("mel").float(), prediction.require("pitch").float()
    voiced_speaker, phase = mel.new_ones(len(mel)), torch.zeros(len(mel), dtype=torch.float64)
    if prediction.speaker is not None:
        voiced_speaker = prediction.speaker[:, -len(QUANTILES) :].any(1).float()
    return ChannelVocoderState(mel, pitch, pitch[..., :0], phase, voiced_speaker, 0, 0)


def interpolation_matrix(centers: Tensor, hz: Tensor) -> Tensor:
    """Matrix (bins, bands) of linear interpolation between values at the bands' centers, constant outside."""
    after = torch.searchsorted(centers, hz).clamp(1, len(centers) - 1)
    left, right = centers[after - 1], centers[after]
    weight = ((hz - left) / (right - left)).clamp(0, 1)
    matrix = torch.zeros(len(hz), len(centers))
    rows = torch.arange(len(hz))
    matrix[rows, after - 1] = 1 - weight
    matrix[rows, after] += weight
    return matrix
