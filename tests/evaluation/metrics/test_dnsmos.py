"""DNSMOS P.835 (lip2speech/evaluation/metrics/dnsmos.py)."""

import numpy as np
import pytest

from lip2speech.evaluation.metrics.dnsmos import dnsmos


def voice(seconds: float = 1.0) -> np.ndarray:
    """(T_a,) float32: a 120 Hz harmonic tone, switched on and off three times a second."""
    t = np.arange(int(seconds * 16000)) / 16000
    harmonics = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 20))
    return (0.05 * harmonics * (np.sin(2 * np.pi * 3 * t) > 0)).astype(np.float32)


def test_scores_equal_those_of_the_authors_code() -> None:
    # speechmos 0.0.1.1, dnsmos.DNSMOS: sig_mos, bak_mos, ovrl_mos of the same second.
    assert dnsmos(voice()) == pytest.approx((1.96489, 2.80919, 1.58659), abs=1e-4)


@pytest.mark.parametrize("wav", [np.zeros(16000, np.float32), np.zeros(0, np.float32)])
def test_silence_scores_the_lowest_point_of_the_five_point_scale(wav: np.ndarray) -> None:
    assert dnsmos(wav) == (1, 1, 1)
    assert all(score > 1 for score in dnsmos(voice()))


def test_noise_lowers_the_background_score() -> None:
    noisy = voice() + 0.02 * np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    assert dnsmos(noisy).background < dnsmos(voice()).background


def test_every_second_of_long_audio_counts() -> None:
    clean = voice(12)
    noisy = clean.copy()
    noisy[10 * 16000 :] += 0.1 * np.random.default_rng(0).standard_normal(2 * 16000).astype(np.float32)
    assert dnsmos(noisy) != dnsmos(clean)
