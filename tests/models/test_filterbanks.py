"""Stacked log filterbanks (lip2speech/models/frontends/filterbanks.py)."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lip2speech.models.frontends.filterbanks import log_filterbanks, stacked_filterbanks


def noise(samples: int) -> Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(0))


def slow(wav: Tensor) -> np.ndarray:
    """The published preparation, window by window and filter by filter: (windows, 26)."""
    x = wav.double().numpy() * 32768
    x = np.array([x[0], *(x[i] - 0.97 * x[i - 1] for i in range(1, len(x)))])
    windows = 1 + (math.ceil((len(x) - 400) / 160) if len(x) > 400 else 0)
    x = np.concatenate([x, np.zeros(windows * 160 + 400)])
    top = 2595 * math.log10(1 + 8000 / 700)
    edges = [math.floor(513 * 700 * (10 ** (top * i / 27 / 2595) - 1) / 16000) for i in range(28)]
    rows = np.zeros((windows, 26))
    for w in range(windows):
        power = np.abs(np.fft.rfft(x[160 * w : 160 * w + 400], 512)) ** 2 / 512
        for band in range(26):
            low, middle, high = edges[band : band + 3]
            total = sum((i - low) / (middle - low) * power[i] for i in range(low, middle))
            total += sum((high - i) / (high - middle) * power[i] for i in range(middle, high))
            rows[w, band] = math.log(total or np.finfo(float).eps)
    return rows


@pytest.mark.parametrize("samples", [1, 400, 401, 1000])
def test_filterbanks_equal_the_slow_twin(samples: int) -> None:
    wav = noise(samples)
    np.testing.assert_allclose(log_filterbanks(wav).numpy(), slow(wav), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("frames", [1, 2, 7])
def test_four_filterbanks_are_stacked_and_normed_per_video_frame(frames: int) -> None:
    found = stacked_filterbanks(noise(640 * frames))
    assert (found.shape, found.dtype) == ((104, frames), torch.float32)
    torch.testing.assert_close(found.mean(0), torch.zeros(frames), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.var(0, correction=0), torch.ones(frames), rtol=1e-3, atol=0)


def test_a_higher_tone_peaks_in_a_higher_filter() -> None:
    time = torch.arange(1600) / 16_000
    best = [
        int(log_filterbanks(torch.sin(2 * math.pi * hz * time)).mean(0).argmax()) for hz in (300, 1000, 4000)
    ]
    assert best == sorted(set(best))


def test_silence_is_finite() -> None:
    assert stacked_filterbanks(torch.zeros(1280)).isfinite().all()


@pytest.mark.parametrize("shape", [(0,), (641,), (1, 640)])
def test_an_incomplete_video_frame_of_audio_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"wav must be \(T_a,\) with T_a a multiple of 640"):
        stacked_filterbanks(torch.zeros(shape))
