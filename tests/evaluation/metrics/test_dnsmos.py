"""DNSMOS by the network in speechmos' wheel, where onnxruntime is installed."""

import numpy as np
import pytest

from lip2speech.evaluation.metrics.dnsmos import LOWEST, dnsmos


def test_the_opinion_is_that_of_the_authors_own_code() -> None:
    t = np.arange(16000) / 16000
    voice = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 20)) * (np.sin(2 * np.pi * 3 * t) > 0)
    # speechmos 0.0.1.1, dnsmos.DNSMOS: sig_mos, bak_mos, ovrl_mos of the same second.
    assert dnsmos((0.05 * voice).astype(np.float32)) == pytest.approx((1.96489, 2.80919, 1.58659), abs=1e-4)


def test_silence_and_nothing_get_the_lowest_mark() -> None:
    assert set(dnsmos(np.zeros(16000, np.float32))) == {LOWEST} == set(dnsmos(np.zeros(0, np.float32)))
