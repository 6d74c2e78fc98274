"""Fit a calibration: sign-constrained, weighted ridge logistic regression on the words of clips."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lip2speech.confidence.calibration import PAUSE_WEIGHT, Calibration
from lip2speech.confidence.features import FEATURES
from lip2speech.evaluation.calibration.words import CalibrationClip

EXPECTED_SIGNS = {
    "unit_entropy": -1,
    "code_entropy": -1,
    "head_agreement": 1,
    "sharpness": 1,
    "code_nll": -1,
}
"""Entropy and unlikely codes never raise the confidence, agreement and sharpness never lower it: a weight of
the other sign is due to chance."""
L2 = 1.0
"""Regularization of the weights, for features of unit variance: negligible against some hundred words."""


def fit_calibration(clips: Sequence[CalibrationClip]) -> Calibration:
    """The maximum-likelihood calibration for the words of `clips`; weights of the wrong sign are dropped.

    Every set has the same total weight, however many clips it has: most clips are of speakers seen in
    training, and most users are not.

    Raises:
        ValueError: no words, or all right, or all wrong.
    """
    windows = (speech_weighted_mean(clip.word_windows()) for clip in clips)
    x = np.concatenate([np.zeros((0, len(FEATURES))), *windows])
    y = np.array([right for clip in clips for _, right in clip.words], float)
    if len(set(y.tolist())) < 2:
        raise ValueError(
            f"calibration needs right and wrong words, got {int(y.sum())} right of {len(y)}; use more clips."
        )
    n_words = Counter(clip.set for clip in clips for _ in clip.words)
    sample_weight = np.array(
        [len(y) / len(n_words) / n_words[clip.set] for clip in clips for _ in clip.words]
    )
    used = list(range(len(FEATURES)))
    while True:
        bias, weights = fit_logistic_regression(x[:, used], y, sample_weight)
        wrong = [i for i, w in zip(used, weights, strict=True) if w * EXPECTED_SIGNS[FEATURES[i]] < 0]
        if not wrong:
            break
        used = [i for i in used if i not in wrong]
    fitted = {FEATURES[i]: round(float(w), 4) for i, w in zip(used, weights, strict=True)}
    return Calibration(round(float(bias), 4), **fitted)


def speech_weighted_mean(windows: Tensor) -> NDArray[Any]:
    """Features (n, T, F + 1) -> their means over frames (n, F), weighted by the speech weight."""
    weight = windows[..., -1:] + PAUSE_WEIGHT
    mean: NDArray[Any] = ((windows[..., :-1] * weight).sum(1) / weight.sum(1)).double().numpy()
    return mean


def fit_logistic_regression(
    x: NDArray[Any], y: NDArray[Any], sample_weight: NDArray[Any]
) -> tuple[float, NDArray[Any]]:
    """L2-regularized logistic regression by Newton's method, on standardized features.

    Shape: x (n, F), y (n,) of 0 and 1, sample_weight (n,) of mean 1 -> bias, weights (F,).
    """
    mean, std = x.mean(0), x.std(0)
    std[std < 1e-9] = 1.0
    z = np.column_stack([np.ones(len(x)), (x - mean) / std])
    penalty = np.diag([1e-6] + [L2] * x.shape[1])
    w = np.zeros(z.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(z @ w, -50, 50)))
        gradient = z.T @ (sample_weight * (y - p)) - penalty @ w
        hessian = (z.T * (sample_weight * p * (1 - p))) @ z + penalty
        step = np.linalg.solve(hessian, gradient)
        w += step
        if np.abs(step).max() < 1e-9:
            break
    weights = w[1:] / std
    return float(w[0] - weights @ mean), weights
