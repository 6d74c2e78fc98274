"""Gaussian blur (lip2speech/modules/gaussian_blur.py)."""

import pytest
import torch

from lip2speech.modules.gaussian_blur import gaussian_blur


def test_an_impulse_is_spread_with_the_given_standard_deviation() -> None:
    impulse = torch.zeros(1, 65, 65)
    impulse[0, 32, 32] = 1
    profile = gaussian_blur(impulse, 3.0)[0].sum(0)
    assert profile.sum() == pytest.approx(1)
    assert float((profile * (torch.arange(65.0) - 32) ** 2).sum()) ** 0.5 == pytest.approx(3, rel=0.05)
