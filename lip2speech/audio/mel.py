"""Log-mel spectrogram: one definition for targets, codecs, vocoders and losses.

16 kHz, 400-sample Hann window every 160 samples, 80 Slaney mel bands up to 8 kHz, natural log of the
magnitude. No learned weights.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAX_FILTERBANK_SIZE = 1 << 22
"""Upper bound of n_fft * n_mels; the default has 40 960, the widest published one 262 144."""

MAX_HZ = 1_000_000
"""Upper bound of the sample rate and of frequencies."""

MIN_MEL_STD = 1e-2
"""Lower bound, in nats, of the standard deviation that a constant mel band is divided by."""


@dataclass(frozen=True)
class MelConfig:
    """Parameters of the spectrogram.

    pad "same" gives T_a // hop_length frames. "center" and "reflect" give one more: frame i is centered on
    sample hop_length * i, and the ends are padded with zeros or reflected.
    """

    sample_rate: int = 16000
    n_fft: int = 512
    win_length: int = 400
    hop_length: int = 160
    n_mels: int = 80
    f_min: float = 0.0
    f_max: float = 8000.0
    mel_scale: Literal["slaney", "htk"] = "slaney"
    norm: Literal["slaney"] | None = "slaney"
    power: float = 1.0
    log_floor: float = 1e-5
    pad: Literal["same", "center", "reflect"] = "same"

    def __post_init__(self) -> None:
        valid = 1 <= self.hop_length <= self.n_fft and 1 <= self.win_length <= self.n_fft and self.n_mels >= 1
        if not valid or self.n_fft * self.n_mels > MAX_FILTERBANK_SIZE:
            raise ValueError(
                f"hop_length and win_length must be 1 .. n_fft, n_fft * n_mels <= {MAX_FILTERBANK_SIZE}; "
                f"got {self.hop_length}, {self.win_length}, {self.n_fft} and {self.n_mels}."
            )
        if not (0 <= self.f_min < self.f_max <= MAX_HZ and 1 <= self.sample_rate <= MAX_HZ):
            raise ValueError(
                f"f_min and f_max must be 0 <= f_min < f_max, they and sample_rate {MAX_HZ} at most, "
                f"got {self.f_min:g}, {self.f_max:g} and {self.sample_rate}."
            )
        if not (0.1 <= self.power <= 4 and 1e-12 <= self.log_floor <= 1):
            raise ValueError(
                f"power must be 0.1 to 4, log_floor 1e-12 to 1, got {self.power:g} and {self.log_floor:g}."
            )

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_length


class LogMel(nn.Module):
    """wav -> natural log of the mel magnitudes, at least log(log_floor).

    With pad "same", frame i is centered on samples hop * i .. hop * (i + 1); the window extends
    (win_length - hop_length) / 2 = 120 samples (7.5 ms) beyond them on either side.

    Shape:
        forward: (B, 1, T_a) -> (B, n_mels, T_a // hop_length), one frame more unless pad is "same"
    """

    window: Tensor
    filters: Tensor

    def __init__(self, config: MelConfig | None = None):
        super().__init__()
        self.config = config = config or MelConfig()
        if (config.n_fft - config.hop_length) % 2:
            raise ValueError(
                f"n_fft - hop_length must be even, got n_fft {config.n_fft}, hop_length {config.hop_length}."
            )
        # Computed from the config, so not part of a checkpoint.
        self.register_buffer("window", torch.hann_window(config.win_length), persistent=False)
        self.register_buffer("filters", mel_filterbank(config), persistent=False)

    def forward(self, wav: Tensor) -> Tensor:
        """(B, 1, T_a) -> (B, n_mels, T_a // hop_length)."""
        if wav.dim() != 3 or wav.shape[1] != 1:
            raise ValueError(f"wav must be (B, 1, T_a), got {tuple(wav.shape)}.")
        n_fft, hop_length = self.config.n_fft, self.config.hop_length
        frames = wav.shape[-1] // hop_length
        if self.config.pad != "same":
            mode = "constant" if self.config.pad == "center" else "reflect"
            if mode == "reflect" and wav.shape[-1] <= n_fft // 2:
                raise ValueError(
                    f"reflect padding needs more than {n_fft // 2} samples, got {wav.shape[-1]}."
                )
            return self._log_mel(F.pad(wav.float(), (n_fft // 2, n_fft // 2), mode=mode)[:, 0])
        if not frames:
            return wav.new_zeros(len(wav), self.config.n_mels, 0)
        side = (n_fft - hop_length) // 2
        return self._log_mel(F.pad(wav[:, 0, : frames * hop_length].float(), (side, side)))

    def step(self, wav: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The frames (B, n_mels, T) that `wav` (B, 1, T_a) completes, and the samples still needed (B, 1, n).

        Frames are delayed by (n_fft - hop_length) / 2 samples; that many zeros at the end flush the rest.
        """
        if self.config.pad != "same":
            raise ValueError(
                f'only pad "same" supports streaming, got "{self.config.pad}"; run the whole input at once.'
            )
        n_fft, hop_length = self.config.n_fft, self.config.hop_length
        if state is None:
            state = wav.new_zeros(len(wav), 1, (n_fft - hop_length) // 2)
        wav = torch.cat([state, wav], dim=-1)
        frames = max(0, (wav.shape[-1] - n_fft) // hop_length + 1)
        state = wav[..., frames * hop_length :]
        if not frames:
            return wav.new_zeros(len(wav), self.config.n_mels, 0), state
        return self._log_mel(wav[:, 0, : (frames - 1) * hop_length + n_fft].float()), state

    def _log_mel(self, padded: Tensor) -> Tensor:
        """Padded (B, T_a) -> (B, n_mels, T)."""
        config = self.config
        with torch.autocast(padded.device.type, enabled=False):
            spectrum = torch.stft(
                padded,
                config.n_fft,
                config.hop_length,
                config.win_length,
                window=self.window,
                center=False,
                return_complex=True,
            )
            mel = self.filters.t() @ spectrum.abs().pow(config.power)
            return mel.clamp(min=config.log_floor).log()


def band_edges(config: MelConfig) -> Tensor:
    """The n_mels + 2 edges of the mel triangles in Hz: band i rises from edge i and falls to edge i + 2."""
    low, high = (_hz_to_mel(f, config.mel_scale) for f in (config.f_min, config.f_max))
    return _mel_to_hz(torch.linspace(low, high, config.n_mels + 2, dtype=torch.float64), config.mel_scale)


def warp_mel(x: Tensor, factor: float, config: MelConfig) -> Tensor:
    """Warp values per mel band, (n_mels, ...), by vocal tract length perturbation (VTLP).

    Jaitly and Hinton 2013. Shifts every band to `factor` times its frequency, like a vocal tract
    shorter by `factor`; the pitch shifts too. The bands at the ends repeat.
    """
    centers = band_edges(config)[1:-1]
    source = centers / factor
    above = torch.searchsorted(centers, source).clamp(1, len(centers) - 1)
    low, high = centers[above - 1], centers[above]
    weight = ((source - low) / (high - low)).clamp(0, 1).to(x).reshape(-1, *[1] * (x.ndim - 1))
    return torch.lerp(x[above - 1], x[above], weight)


def mel_filterbank(config: MelConfig) -> Tensor:
    """Triangular mel filters, (n_fft / 2 + 1, n_mels), on Slaney's or O'Shaughnessy's (HTK) mel scale.

    The same as torchaudio's `melscale_fbanks`, but computed in float64 and on the meta device too, on which
    checkpoints are validated. Torchaudio's float32 weights are off by up to 3e-6 of the largest one, enough
    for Griffin-Lim to converge to a different waveform.
    """
    freqs = torch.linspace(0, config.sample_rate // 2, config.n_fft // 2 + 1, dtype=torch.float64)
    edges = band_edges(config)
    rising = (freqs[:, None] - edges[None, :-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[None, 2:] - freqs[:, None]) / (edges[2:] - edges[1:-1])
    filters = torch.minimum(rising, falling).clamp(min=0)
    if config.norm == "slaney":  # equal area
        filters = filters * (2 / (edges[2:] - edges[:-2]))
    return filters.float()


def mel_to_linear(mel: Tensor, config: MelConfig | None = None, iterations: int = 32) -> Tensor:
    """Non-negative linear spectrum of a log-mel: (B, n_mels, T) -> (B, n_fft / 2 + 1, T).

    Pseudo-inverse of the filterbank, then multiplicative updates (Lee and Seung 2001) that reduce the squared
    error and keep the spectrum non-negative.
    """
    filters, inverse = (x.to(mel) for x in _filterbank_and_inverse(config or MelConfig()))
    magnitude = mel.exp()
    target = filters @ magnitude
    linear = (inverse @ magnitude).clamp(min=1e-8)
    for _ in range(iterations):
        linear = linear * target / (filters @ (filters.t() @ linear)).clamp(min=1e-12)
    return linear


@cache
def _filterbank_and_inverse(config: MelConfig) -> tuple[Tensor, Tensor]:
    filters = mel_filterbank(config)
    return filters, torch.linalg.pinv(filters.t())


# Slaney's scale (Auditory Toolbox, 1998): linear to 1 kHz, then 27 steps for each factor of 6.4.
_SLANEY_STEP_HZ = 200 / 3
_SLANEY_KNEE_HZ = 1000.0
_SLANEY_KNEE_MEL = _SLANEY_KNEE_HZ / _SLANEY_STEP_HZ
_SLANEY_LOG_STEP = math.log(6.4) / 27


def _hz_to_mel(hz: float, scale: str) -> float:
    if scale == "htk":
        return 2595 * math.log10(1 + hz / 700)
    if hz < _SLANEY_KNEE_HZ:
        return hz / _SLANEY_STEP_HZ
    return _SLANEY_KNEE_MEL + math.log(hz / _SLANEY_KNEE_HZ) / _SLANEY_LOG_STEP


def _mel_to_hz(mel: Tensor, scale: str) -> Tensor:
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    above = _SLANEY_KNEE_HZ * torch.exp(_SLANEY_LOG_STEP * (mel - _SLANEY_KNEE_MEL))
    return torch.where(mel < _SLANEY_KNEE_MEL, mel * _SLANEY_STEP_HZ, above)
