"""AV-HuBERT's audio input: 26 log filterbanks every 10 ms, four of them stacked per video frame.

Shi, Hsu, Lakhotia, Mohamed 2022, "Learning audio-visual speech representation by masked multimodal cluster
prediction", section 4.1. Equal to the published preparation (`logfbank` of python_speech_features): samples
as int16, pre-emphasis 0.97, rectangular windows of 25 ms, 512-point FFT, triangles between whole bins of the
HTK scale up to 8 kHz, natural log; the 104 numbers of each video frame are layer-normed.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lip2speech.constants import SAMPLE_RATE, SAMPLES_PER_FRAME, per_video_frame

FRAME_RATE = 100
STACK = per_video_frame(FRAME_RATE)
N_FILTERS, N_FFT, WIN_LENGTH, HOP_LENGTH = 26, 512, 400, SAMPLE_RATE // FRAME_RATE
PREEMPHASIS = 0.97
FULL_SCALE = 32768.0
MIN_ENERGY = torch.finfo(torch.float64).eps  # replaces zero energy


def stacked_filterbanks(wav: Tensor) -> Tensor:
    """Audio of T video frames (640 T,) in [-1, 1] at 16 kHz -> (104, T) float32."""
    if wav.dim() != 1 or not len(wav) or len(wav) % SAMPLES_PER_FRAME:
        raise ValueError(
            f"wav must be (T_a,) with T_a a multiple of {SAMPLES_PER_FRAME}, got {tuple(wav.shape)}."
        )
    rows = log_filterbanks(wav)
    rows = F.pad(rows, (0, 0, 0, -len(rows) % STACK))  # the last window would start past the end
    stacked = rows.reshape(-1, STACK * N_FILTERS)
    return F.layer_norm(stacked, stacked.shape[1:]).T


def log_filterbanks(wav: Tensor) -> Tensor:
    """(T_a,) in [-1, 1] -> (ceil((T_a - 400) / 160) + 1, 26) float32; the last window is zero-padded."""
    x = wav.double() * FULL_SCALE
    x = torch.cat([x[:1], x[1:] - PREEMPHASIS * x[:-1]])
    hops = max(0, -(-(len(x) - WIN_LENGTH) // HOP_LENGTH))
    windows = F.pad(x, (0, hops * HOP_LENGTH + WIN_LENGTH - len(x))).unfold(0, WIN_LENGTH, HOP_LENGTH)
    power = torch.fft.rfft(windows, N_FFT).abs().square() / N_FFT
    energy = power @ mel_filters().T
    out: Tensor = energy.where(energy > 0, MIN_ENERGY).log().float()
    return out


def mel_filters() -> Tensor:
    """Triangular filters (26, 257) float64."""
    max_mel = 2595 * torch.log10(torch.tensor(1 + SAMPLE_RATE / 2 / 700, dtype=torch.float64))
    hertz = 700 * (10 ** (torch.linspace(0, 1, N_FILTERS + 2, dtype=torch.float64) * max_mel / 2595) - 1)
    edges = ((N_FFT + 1) * hertz / SAMPLE_RATE).floor()
    bins = torch.arange(N_FFT // 2 + 1, dtype=torch.float64)
    low, center, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - low) / (center - low), (high - bins) / (high - center)
    return torch.where(bins < center, rising, falling).clamp_min(0)
