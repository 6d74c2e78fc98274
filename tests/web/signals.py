"""Audio that passes for speech in tests."""

import torch
from torch import Tensor

from lip2speech.constants import SAMPLE_RATE


def pulsed_buzz(seconds: float, f0: float = 120.0) -> Tensor:
    """(T_a,): a harmonic tone of `f0` Hz, switched on and off three times in two seconds."""
    time = torch.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    buzz = sum((torch.sin(2 * torch.pi * f0 * k * time) / k for k in range(1, 20)), torch.zeros(len(time)))
    return 0.1 * buzz * (torch.sin(2 * torch.pi * 1.5 * time) > -0.3)
