"""Bootstrap confidence intervals over utterances (Efron 1979): percentiles of resampled statistics."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

N_RESAMPLES = 1000


def bootstrap_interval(
    values: ArrayLike, weights: ArrayLike | None = None, *, median: bool = False, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of sum(values) / sum(weights), or of the median, over resampled utterances.

    Args:
        values: (n,), one per utterance: its error count or its score; NaNs are dropped with their weights.
        weights: (n,), one per utterance: its reference length; 1 each if None.
        median: of the median of `values` instead.
        seed: of the resampling.
    """
    x = np.asarray(values, dtype=np.float64)
    w = np.ones_like(x) if weights is None else np.asarray(weights, dtype=np.float64)
    valid = np.isfinite(x) & (w > 0)
    x, w = x[valid], w[valid]
    return percentile_interval(statistic(x, w, resample(len(x), seed), median=median))


def resample(n: int, seed: int = 0) -> NDArray[Any]:
    """Indices of `n` utterances drawn with replacement: (N_RESAMPLES, n)."""
    return np.random.default_rng(seed).integers(0, max(1, n), size=(N_RESAMPLES, n))


def statistic(
    x: NDArray[Any], w: NDArray[Any], indices: NDArray[Any], *, median: bool = False
) -> NDArray[Any]:
    """sum(x) / sum(w), or the median of x, over each row of indices (draws, n): (draws,); NaN for n = 0."""
    if not indices.shape[1]:
        return np.full(len(indices), np.nan)
    if median:
        return np.asarray(np.median(x[indices], axis=1))
    return np.asarray(x[indices].sum(1) / w[indices].sum(1))


def percentile_interval(draws: NDArray[Any]) -> tuple[float, float]:
    """The central 95 % of (draws,)."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)
