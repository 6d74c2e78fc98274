"""The vocoder interface: a `Prediction` in, a waveform out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from lip2speech.models.prediction import Prediction


class Vocoder(nn.Module, ABC):
    """Synthesizes a Prediction, 640 samples per video frame.

    Attributes:
        needs: fields of the Prediction that must be set.
        sample_rate: in Hz.
        latency: samples by which the output of `step` lies behind its input.

    Shape:
        forward: Prediction of T video frames -> wav (B, 1, 640 T) float32 in [-1, 1]
        step:    Prediction of the next T frames, state -> final samples (B, 1, n), state
        finish:  state -> the remaining samples (B, 1, n); in total 640 per frame
    """

    needs: tuple[str, ...] = ()
    sample_rate: int = 16000
    latency: int = 0

    @abstractmethod
    def forward(self, prediction: Prediction) -> Tensor:
        """Prediction of T video frames -> wav (B, 1, 640 T)."""

    def step(self, prediction: Prediction, state: Any = None) -> tuple[Tensor, Any]:
        """The next samples; state is None at first. ValueError for a vocoder that does not stream."""
        raise ValueError(f"{type(self).__name__} does not stream; synthesize the whole clip.")

    def finish(self, state: Any) -> Tensor:
        """What `step` still buffers: (B, 1, n)."""
        return torch.zeros(1, 1, 0)
