"""Synthetic clips for the tests of calibration."""

import numpy as np
import torch

from lip2speech.confidence.features import FEATURES
from lip2speech.evaluation.calibration.words import CalibrationClip

FEATURES_AND_WEIGHT = len(FEATURES) + 1


def random_clips(n: int, seed: int, name: str = "a:test") -> list[CalibrationClip]:
    """Clips of one word with constant random features, right with p = sigmoid(4 - 8 unit_entropy)."""
    rng = np.random.default_rng(seed)
    clips = []
    for i in range(n):
        x = rng.random(FEATURES_AND_WEIGHT)
        right = rng.random() < 1 / (1 + np.exp(-(4 - 8 * x[0])))
        features = torch.tensor(x, dtype=torch.float32).expand(30, FEATURES_AND_WEIGHT)
        clips.append(CalibrationClip(name, str(i), features, ((0.6, bool(right)),)))
    return clips
