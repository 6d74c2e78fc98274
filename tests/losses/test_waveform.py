"""SI-SDR (lip2speech/losses/waveform.py)."""

import math

import pytest
import torch

from lip2speech.losses import si_sdr


def test_si_sdr_has_known_values_at_any_level() -> None:
    time = torch.arange(1600) / 1600
    signal, other = torch.sin(40 * math.pi * time), torch.sin(60 * math.pi * time)
    target = torch.stack([signal, signal, signal])[:, None]
    wav = torch.stack([signal + other, 7 * (signal + 0.1 * other), -signal + 0.01 * other])[:, None]
    assert si_sdr(wav, target).tolist() == pytest.approx([0.0, 20.0, 40.0], abs=1e-2)
