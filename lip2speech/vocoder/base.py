"""The vocoder socket: anything that turns a Prediction into a waveform."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from lip2speech.prediction import Prediction


class Vocoder(nn.Module, ABC):
    """Renders a Prediction, 640 samples per video frame. `needs` names the fields that must be there.

    Shape:
        forward: Prediction of T video frames -> wav (B, 1, 640 T) float32 in [-1, 1] at `sample_rate`
    """

    needs: tuple[str, ...] = ()
    sample_rate: int = 16000

    @abstractmethod
    def forward(self, prediction: Prediction) -> Tensor: ...
