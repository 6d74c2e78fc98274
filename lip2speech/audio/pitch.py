"""F0 of a recording: how high it is, frame by frame, and where it is voiced.

The best normalised autocorrelation of 40 ms frames, on the clock of the mel (100 Hz, the same centres), after
a high-pass: the rumble of a room is periodic too, and louder than a voice. Knows no voice and no model.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torchaudio.functional import highpass_biquad

SAMPLE_RATE, FRAME, HOP = 16000, 640, 160
F0_RANGE = (60.0, 400.0)
REFERENCE_HZ = 128.0
"""Hz; pitch is given as log2(F0 / 128 Hz)."""
VOICED = 0.6
"""Periodicity beyond which a frame is voiced, when it is loud enough."""
QUIET = 0.01
"""Share of the loudest frame's power below which a frame tells nothing of the voice."""
CONTOUR_VOICED, CONTOUR_QUIET = 0.55, 0.003
"""The same for a contour, which is to follow weak voicing as well."""
OCTAVE_SLIP = 1.7
"""A frame so many times higher or lower than the median is an error of the tracker."""
RUMBLE_HZ = 60.0
QUANTILES = (0.1, 0.5, 0.9)
MIN_VOICED_FRAMES = 5
FRAMES_AT_ONCE = 2000  # 20 s, to spare memory with a long recording


def estimate_f0(wav: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of (T_a,) at 16 kHz: F0 in Hz, periodicity (1 = fully) and mean square of each frame, (T_a // 160,)."""
    count = len(wav) // HOP
    if not count:
        return (wav.new_zeros(0),) * 3
    side = (FRAME - HOP) // 2
    clean = highpass_biquad(highpass_biquad(wav, SAMPLE_RATE, RUMBLE_HZ), SAMPLE_RATE, RUMBLE_HZ)
    frames = F.pad(clean, (side, side + HOP)).unfold(0, FRAME, HOP)[:count]
    f0, strength, power = zip(
        *(estimate_frame_f0(part) for part in frames.split(FRAMES_AT_ONCE)), strict=True
    )
    return torch.cat(f0), torch.cat(strength), torch.cat(power)


def estimate_frame_f0(frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Frames (T, 640) -> F0 in Hz, how periodic each frame is (1 = fully), and its mean square, (T,) each."""
    low, high = int(SAMPLE_RATE / F0_RANGE[1]), int(SAMPLE_RATE / F0_RANGE[0])
    spectrum = torch.fft.rfft(frames - frames.mean(1, keepdim=True), 2048)
    correlation = torch.fft.irfft(spectrum.abs() ** 2)[:, : high + 1]
    overlap = 1.0 - torch.arange(high + 1) / FRAME  # a shorter overlap sums fewer products
    correlation = correlation / (correlation[:, :1] + 1e-6) / overlap
    # Twice the period fits as well as the period itself, so shorter ones are favoured.
    favour_short = 1.0 - 0.15 * torch.arange(low, high + 1) / high
    strength, best = (correlation[:, low:] * favour_short).max(1)
    return SAMPLE_RATE / parabolic_peak(correlation, best + low), strength, frames.pow(2).mean(1)


def parabolic_peak(values: Tensor, at: Tensor) -> Tensor:
    """Where the parabola through (T, N) at `at` (T,) and its two neighbours is highest; (T,) at the edges."""
    inside = at.clamp(1, values.shape[1] - 2)
    left, middle, right = (values.gather(1, (inside + i)[:, None])[:, 0] for i in (-1, 0, 1))
    bend = (left + right - 2 * middle).clamp_max(-1e-9)
    return at + ((left - right) / (2 * bend)).clamp(-0.5, 0.5) * (at == inside)


def pitch_quantiles(wav: Tensor) -> Tensor:
    """The 10, 50 and 90 % quantiles of log2(F0 / 128 Hz) over voiced frames of (T_a,); zeros without any."""
    f0, strength, power = estimate_f0(wav)
    f0 = f0[(power > QUIET * power.max()) & (strength > VOICED)] if len(f0) else f0
    if f0.numel() < MIN_VOICED_FRAMES:
        return torch.zeros(len(QUANTILES))
    return torch.quantile(torch.log2(f0 / REFERENCE_HZ), torch.tensor(QUANTILES))


def pitch_contour(wav: Tensor) -> Tensor:
    """(T_a,) at 16 kHz -> (2, T_a // 160): log2(F0 / 128 Hz), and 1 where it is voiced, else 0.

    Between voiced stretches the pitch goes straight from one to the next; without any it is 0.
    """
    f0, strength, power = estimate_f0(wav)
    if not len(f0):
        return f0.new_zeros(2, 0)
    voiced = (strength > CONTOUR_VOICED) & (power > CONTOUR_QUIET * power.max())
    if voiced.sum() < MIN_VOICED_FRAMES:
        return f0.new_zeros(2, len(f0))
    pitch = torch.log2(f0 / REFERENCE_HZ)
    off = torch.log2(f0 / f0[voiced].median()).abs()
    voiced &= off < torch.tensor(OCTAVE_SLIP).log2()
    return torch.stack([interpolate_unvoiced(pitch, voiced), voiced.float()])


def interpolate_unvoiced(values: Tensor, known: Tensor) -> Tensor:
    """(T,) with what is not known, (T,) bool, taken on the line between its known neighbours."""
    places = torch.nonzero(known)[:, 0]
    at = torch.arange(len(values))
    after = torch.searchsorted(places, at).clamp_max(len(places) - 1)
    before = (torch.searchsorted(places, at, right=True) - 1).clamp_min(0)
    left, right = places[before], places[after]
    share = (at - left) / (right - left).clamp_min(1)
    return torch.where(known, values, torch.lerp(values[left], values[right], share.clamp(0, 1)))
