"""Calibration: a logistic regression from the features of a frame to the probability that a word is right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lip2speech.confidence.features import FEATURES

PAUSE_WEIGHT = 0.01
"""Weight of a frame of a pause beside a frame of speech: every model is certain about its pauses."""

MAX_WEIGHT = 1e6
"""Of a calibration's bias and weights; fitted ones stay below 100."""


class FrameScore(NamedTuple):
    """The confidence of one video frame.

    Attributes:
        logit: of the probability that a word here is right; NaN where no face was detected.
        speech: how much of the frame is speech, 0..1.
    """

    logit: float
    speech: float


NO_FACE = FrameScore(math.nan, 1.0)
"""A frame without a detected face: no confidence estimate, counted as 0."""


@dataclass(frozen=True)
class Calibration:
    """Weights of `FEATURES` in a frame's logit; fitted on clips with known words (`lip2speech calibrate`)."""

    bias: float
    unit_entropy: float = 0.0
    code_entropy: float = 0.0
    head_agreement: float = 0.0
    sharpness: float = 0.0
    code_nll: float = 0.0

    def __post_init__(self) -> None:
        if not all(abs(weight) <= MAX_WEIGHT for weight in astuple(self)):  # refuses NaN too
            raise ValueError(
                f"a calibration holds finite numbers, {MAX_WEIGHT:g} at most, got {self}; "
                "calibrate the model again."
            )

    def __call__(self, features: Tensor) -> list[FrameScore]:
        """`FrameFeatures.values` (T, F + 1) -> T scores."""
        weights = torch.tensor([getattr(self, name) for name in FEATURES])
        logits = features[:, :-1] @ weights + self.bias
        return [FrameScore(*pair) for pair in zip(logits.tolist(), features[:, -1].tolist(), strict=True)]


def segment_confidence(scores: Sequence[FrameScore]) -> float:
    """The confidence of a segment, 0..1: share of frames with a face x sigmoid(speech-weighted mean logit).

    The weights are fitted on segments of one second, so a segment should be about that long.
    """
    detected = [score for score in scores if not math.isnan(score.logit)]
    if not detected:
        return 0.0
    mean = sum(score.logit * (score.speech + PAUSE_WEIGHT) for score in detected) / speech_weight(detected)
    return len(detected) / len(scores) / (1 + math.exp(-max(-50.0, mean)))


def speech_weight(scores: Sequence[FrameScore]) -> float:
    """How much speech a segment holds, in frames."""
    return sum(score.speech + PAUSE_WEIGHT for score in scores)
