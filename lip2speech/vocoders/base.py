"""The vocoder socket: anything that turns a Prediction into a waveform."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from lip2speech.models.prediction import Prediction


class Vocoder(nn.Module, ABC):
    """Renders a Prediction, 640 samples per video frame. `needs` names the fields that must be there.

    Shape:
        forward: Prediction of T video frames -> wav (B, 1, 640 T) float32 in [-1, 1] at `sample_rate`
        step:    Prediction of the next T frames, state -> wav (B, 1, n) that is settled by now, state
        finish:  state -> the rest (B, 1, n); all pieces together are 640 samples for each frame
    """

    needs: tuple[str, ...] = ()
    sample_rate: int = 16000
    late: int = 0  # samples by which `step` lies behind

    @abstractmethod
    def forward(self, prediction: Prediction) -> Tensor: ...

    def step(self, prediction: Prediction, state: Any = None) -> tuple[Tensor, Any]:
        """The next piece of sound; state is None at first. ValueError when this vocoder cannot."""
        raise ValueError(f"{type(self).__name__} does not run step by step; render the whole clip.")

    def finish(self, state: Any) -> Tensor:
        """What `step` still held back: (B, 1, n)."""
        return torch.zeros(1, 1, 0)
