"""Pitch loss (lip2speech/losses/pitch.py)."""

import pytest
import torch

from lip2speech.losses import pitch_loss


def test_pitch_loss_covers_voiced_valid_frames_only() -> None:
    target = torch.zeros(1, 2, 4)
    target[0, 1] = torch.tensor([1.0, 1.0, 0.0, 1.0])
    predicted = torch.tensor([[[0.5, 0.0, 9.0, 9.0], [20.0, 20.0, -20.0, -20.0]]])
    mask = torch.tensor([[[1.0, 1.0, 1.0, 0.0]]])
    octaves, voicing = pitch_loss(predicted, target, mask)
    assert octaves == pytest.approx(0.25)
    assert voicing == pytest.approx(0.0, abs=1e-6)
