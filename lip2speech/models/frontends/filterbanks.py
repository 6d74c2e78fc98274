"""What AV-HuBERT hears: 26 log filterbanks every 10 ms, four of them side by side for each video frame.

Shi, Hsu, Lakhotia, Mohamed 2022, "Learning audio-visual speech representation by masked multimodal cluster
prediction", section 4.1. The numbers are those of the published preparation (`logfbank` of
python_speech_features): samples as int16, pre-emphasis 0.97, windows of 25 ms with square ends, 512 points,
triangles between whole bins of the HTK scale up to 8 kHz, natural log; each frame's 104 numbers are normed.
Knows no model.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lip2speech.constants import SAMPLE_RATE, SAMPLES_PER_FRAME, per_video_frame

RATE = 100
STACKED = per_video_frame(RATE)
BANDS, N_FFT, WINDOW, HOP = 26, 512, 400, SAMPLE_RATE // RATE
PREEMPHASIS = 0.97
FULL_SCALE = 32768.0
LEAST = torch.finfo(torch.float64).eps  # what a band without energy counts as


def stacked_filterbanks(wav: Tensor) -> Tensor:
    """Sound of T video frames (640 T,) in [-1, 1] at 16 kHz -> (104, T) float32."""
    if wav.dim() != 1 or not len(wav) or len(wav) % SAMPLES_PER_FRAME:
        raise ValueError(
            f"wav must be (T_a,) with T_a a multiple of {SAMPLES_PER_FRAME}, got {tuple(wav.shape)}."
        )
    rows = log_filterbanks(wav)
    rows = F.pad(rows, (0, 0, 0, -len(rows) % STACKED))  # the last window would begin past the sound
    stacked = rows.reshape(-1, STACKED * BANDS)
    return F.layer_norm(stacked, stacked.shape[1:]).T


def log_filterbanks(wav: Tensor) -> Tensor:
    """(T_a,) in [-1, 1] -> (ceil((T_a - 400) / 160) + 1, 26) float32; the last window ends in zeros."""
    x = wav.double() * FULL_SCALE
    x = torch.cat([x[:1], x[1:] - PREEMPHASIS * x[:-1]])
    steps = max(0, -(-(len(x) - WINDOW) // HOP))
    windows = F.pad(x, (0, steps * HOP + WINDOW - len(x))).unfold(0, WINDOW, HOP)
    power = torch.fft.rfft(windows, N_FFT).abs().square() / N_FFT
    bands = power @ filters().T
    return bands.where(bands > 0, LEAST).log().float()


def filters() -> Tensor:
    """Triangles (26, 257) float64."""
    highest = 2595 * torch.log10(torch.tensor(1 + SAMPLE_RATE / 2 / 700, dtype=torch.float64))
    hertz = 700 * (10 ** (torch.linspace(0, 1, BANDS + 2, dtype=torch.float64) * highest / 2595) - 1)
    edges = ((N_FFT + 1) * hertz / SAMPLE_RATE).floor()
    bins = torch.arange(N_FFT // 2 + 1, dtype=torch.float64)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    return torch.where(bins < middle, rising, falling).clamp_min(0)
