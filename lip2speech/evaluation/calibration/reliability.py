"""Reliability of confidences: bins, expected calibration error, AUC, table and diagram.

The expected calibration error (ECE; Guo et al. 2017, section 2) is the mean difference of confidence and
accuracy over ten equal bins, weighted by their counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lip2speech.evaluation.plots import LINE_COLOR, POINT_COLOR, subplots
from lip2speech.evaluation.tables import format_number, markdown_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_BINS = 10


@dataclass(frozen=True)
class Bin:
    """The predictions with a confidence from `low` to `high`; the means are NaN if there are none."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def reliability_bins(confidence: Sequence[float], right: Sequence[bool], n: int = N_BINS) -> list[Bin]:
    """`n` equal bins over confidences from 0 to 1. ValueError: other values, or different lengths."""
    c, r = np.asarray(confidence, float), np.asarray(right, float)
    if c.shape != r.shape or c.ndim != 1 or (len(c) and not (c.min() >= 0 and c.max() <= 1)):
        raise ValueError(f"confidence (n,) from 0 to 1 and right (n,) expected, got {c.shape} and {r.shape}.")
    index = np.minimum((c * n).astype(int), n - 1)
    bins = []
    for i in range(n):
        inside = index == i
        means = (float(c[inside].mean()), float(r[inside].mean())) if inside.any() else (math.nan, math.nan)
        bins.append(Bin(i / n, (i + 1) / n, int(inside.sum()), *means))
    return bins


def ece(bins: Sequence[Bin]) -> float:
    """Expected calibration error, 0 (calibrated) to 1; NaN if all bins are empty."""
    total = sum(b.count for b in bins)
    gaps = [b.count * abs(b.confidence - b.accuracy) for b in bins if b.count]
    return sum(gaps) / total if total else math.nan


def auc(confidence: Sequence[float], right: Sequence[bool]) -> float:
    """Probability that a right prediction is more confident than a wrong one; 0.5 is chance.

    NaN if all are right or all are wrong.
    """
    c, r = np.asarray(confidence, float), np.asarray(right, bool)
    positive, negative = c[r][:, None], c[~r][None]
    if not (positive.size and negative.size):
        return math.nan
    return float((positive > negative).mean() + 0.5 * (positive == negative).mean())


def reliability_table(bins: Sequence[Bin]) -> str:
    """The bins as a Markdown table."""
    lines = [
        [
            f"{b.low:.1f} to {b.high:.1f}",
            str(b.count),
            *(format_number(x, 3) for x in (b.confidence, b.accuracy)),
        ]
        for b in bins
    ]
    return markdown_table(["confidence", "words", "mean confidence", "accuracy"], lines)


def reliability_diagram(bins: Sequence[Bin], title: str) -> Figure:
    """Accuracy against confidence; the area of a marker is proportional to the count of its bin."""
    figure, (axes,) = subplots(1, square=True)
    filled = [b for b in bins if b.count]
    largest = max((b.count for b in filled), default=1)
    axes.plot((0, 1), (0, 1), color=LINE_COLOR, linewidth=0.8, linestyle="--")
    axes.scatter(
        [b.confidence for b in filled], [b.accuracy for b in filled],
        s=[10 + 240 * b.count / largest for b in filled], color=POINT_COLOR, alpha=0.6, linewidths=0,
    )  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_title(title, fontsize=9)
    axes.set_xlabel("mean confidence", fontsize=8)
    axes.set_ylabel("accuracy", fontsize=8)
    return figure
