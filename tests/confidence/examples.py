"""Predictions, crops and scores for the tests of confidence."""

import numpy as np
import torch

from lip2speech.confidence.calibration import Calibration, FrameScore
from lip2speech.confidence.features import FEATURES
from lip2speech.models.prediction import Prediction

WIDTH = len(FEATURES) + 1
CALIBRATION = Calibration(bias=3.0, unit_entropy=-4.0, code_entropy=-4.0, head_agreement=1.0)


def predict(frames: int, peak: float, *, codes: bool = True, rate: int = 2) -> Prediction:
    """Logits of 0, and of `peak` for one class in each step; a peak of 0 makes them uniform."""
    units = torch.zeros(1, 8, 2 * frames)
    units[:, 3] = peak
    if not codes:
        return Prediction(unit_logits=units)
    logits = torch.zeros(1, 2, 16, rate * frames)
    logits[:, :, 5] = peak
    chosen = torch.full((1, 2, rate * frames), 5)
    return Prediction(unit_logits=units, code_logits=logits, independent_code_logits=logits, codes=chosen)


def blank(frames: int) -> np.ndarray:
    """Crops that show nothing."""
    return np.full((frames, 96, 96), 107, np.uint8)


def stripes(frames: int, contrast: int = 40) -> np.ndarray:
    """Crops with lines, two pixels wide."""
    return np.tile(np.array([100, 100, 100 + contrast, 100 + contrast], np.uint8), (frames, 96, 24))


def speech(*logits: float) -> list[FrameScore]:
    """Frames of speech."""
    return [FrameScore(logit, 1.0) for logit in logits]
