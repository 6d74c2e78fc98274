"""F0 estimation: pitch and voicing of a recording, frame by frame.

The peak of the normalized autocorrelation of 40 ms frames at the mel frame rate (100 Hz, same centers), after
a high-pass: room rumble is periodic too, and louder than a voice.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torchaudio.functional import highpass_biquad

from lip2speech.constants import MEL_RATE, SAMPLE_RATE

FRAME_LENGTH, HOP_LENGTH = 640, SAMPLE_RATE // MEL_RATE
N_FFT = 2048
F0_RANGE_HZ = (60.0, 400.0)
REFERENCE_HZ = 128.0
"""Pitch is log2(F0 / 128 Hz)."""
MIN_PERIODICITY, MIN_RELATIVE_POWER = 0.6, 0.01
"""What the periodicity and the power, relative to the maximum, of a frame counted as voiced must exceed."""
CONTOUR_MIN_PERIODICITY, CONTOUR_MIN_RELATIVE_POWER = 0.55, 0.003
"""The same for contours, which follow weak voicing as well."""
MAX_F0_RATIO = 1.7
"""A frame whose F0 is higher or lower than the median by this factor is an octave error."""
HIGHPASS_HZ = 60.0
SHORT_PERIOD_BIAS = 0.15
QUANTILES = (0.1, 0.5, 0.9)
MIN_VOICED_FRAMES = 5
FRAMES_PER_BATCH = 2000  # 20 s, bounds the memory for long recordings


def estimate_f0(wav: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(T_a,) at 16 kHz -> F0 in Hz, periodicity (1 = fully) and mean square per frame, (T_a // 160,) each."""
    n_frames = len(wav) // HOP_LENGTH
    if not n_frames:
        return (wav.new_zeros(0),) * 3
    side = (FRAME_LENGTH - HOP_LENGTH) // 2
    filtered = wav
    for _ in range(2):
        filtered = highpass_biquad(filtered, SAMPLE_RATE, HIGHPASS_HZ)
    frames = F.pad(filtered, (side, side + HOP_LENGTH)).unfold(0, FRAME_LENGTH, HOP_LENGTH)[:n_frames]
    f0, periodicity, power = zip(*map(estimate_frame_f0, torch.split(frames, FRAMES_PER_BATCH)), strict=True)
    return torch.cat(f0), torch.cat(periodicity), torch.cat(power)


def estimate_frame_f0(frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Frames (T, 640) -> F0 in Hz, periodicity (1 = fully) and mean square, (T,) each."""
    low, high = int(SAMPLE_RATE / F0_RANGE_HZ[1]), int(SAMPLE_RATE / F0_RANGE_HZ[0])
    spectrum = torch.fft.rfft(frames - frames.mean(1, keepdim=True), N_FFT)
    correlation = torch.fft.irfft(spectrum.abs() ** 2)[:, : high + 1]
    overlap = 1.0 - torch.arange(high + 1) / FRAME_LENGTH  # longer delays sum fewer products
    correlation = correlation / (correlation[:, :1] + 1e-6) / overlap
    # Twice the period fits as well as the period itself, so shorter ones are favored.
    preference = 1.0 - SHORT_PERIOD_BIAS * torch.arange(low, high + 1) / high
    periodicity, best = (correlation[:, low:] * preference).max(1)
    return SAMPLE_RATE / parabolic_peak(correlation, best + low), periodicity, frames.pow(2).mean(1)


def parabolic_peak(values: Tensor, index: Tensor) -> Tensor:
    """Peak of the parabola through (T, N) at `index` (T,) and both neighbors; `index` itself at the edges."""
    inside = index.clamp(1, values.shape[1] - 2)
    left, middle, right = (values.gather(1, (inside + i)[:, None])[:, 0] for i in (-1, 0, 1))
    curvature = (left + right - 2 * middle).clamp_max(-1e-9)
    return index + ((left - right) / (2 * curvature)).clamp(-0.5, 0.5) * (index == inside)


def pitch_quantiles(wav: Tensor) -> Tensor:
    """10, 50 and 90 % quantiles of log2(F0 / 128 Hz) over the voiced frames of (T_a,); zeros if unvoiced."""
    f0, periodicity, power = estimate_f0(wav)
    if len(f0):
        f0 = f0[(power > MIN_RELATIVE_POWER * power.max()) & (periodicity > MIN_PERIODICITY)]
    if f0.numel() < MIN_VOICED_FRAMES:
        return torch.zeros(len(QUANTILES))
    return torch.quantile(torch.log2(f0 / REFERENCE_HZ), torch.tensor(QUANTILES))


def pitch_contour(wav: Tensor) -> Tensor:
    """(T_a,) at 16 kHz -> (2, T_a // 160): log2(F0 / 128 Hz), and voicing (1 voiced, 0 unvoiced).

    Over unvoiced segments the pitch is interpolated linearly; without any voicing it is 0.
    """
    f0, periodicity, power = estimate_f0(wav)
    if not len(f0):
        return f0.new_zeros(2, 0)
    voiced = (periodicity > CONTOUR_MIN_PERIODICITY) & (power > CONTOUR_MIN_RELATIVE_POWER * power.max())
    if voiced.sum() < MIN_VOICED_FRAMES:
        return f0.new_zeros(2, len(f0))
    pitch = torch.log2(f0 / REFERENCE_HZ)
    deviation = torch.log2(f0 / f0[voiced].median()).abs()
    voiced &= deviation < torch.tensor(MAX_F0_RATIO).log2()
    return torch.stack([interpolate_unvoiced(pitch, voiced), voiced.float()])


def interpolate_unvoiced(values: Tensor, voiced: Tensor) -> Tensor:
    """(T,) with unvoiced frames, by `voiced` (T,) bool, on the line between their voiced neighbors."""
    indices = torch.nonzero(voiced)[:, 0]
    frames = torch.arange(len(values))
    after = torch.searchsorted(indices, frames).clamp_max(len(indices) - 1)
    before = (torch.searchsorted(indices, frames, right=True) - 1).clamp_min(0)
    left, right = indices[before], indices[after]
    weight = (frames - left) / (right - left).clamp_min(1)
    return torch.where(voiced, values, torch.lerp(values[left], values[right], weight.clamp(0, 1)))
