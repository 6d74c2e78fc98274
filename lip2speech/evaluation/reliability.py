"""Whether a confidence keeps its word: bins, their expected calibration error, a table and a plot.

The expected calibration error (ECE; Guo et al. 2017, section 2) is the mean distance of confidence and share
of right answers over ten equal bins, weighted by how many answers each holds. Knows numbers only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BINS = 10


@dataclass(frozen=True)
class Bin:
    """The answers with a confidence of `low` to `high`: how many, their mean confidence, the share right."""

    low: float
    high: float
    count: int
    confidence: float
    right: float


def bins(confidence: Sequence[float], right: Sequence[bool], n: int = BINS) -> list[Bin]:
    """`n` equal bins of answers with a confidence (0 to 1) each; an empty bin has NaN for its means."""
    c, r = np.asarray(confidence, float), np.asarray(right, float)
    if c.shape != r.shape or c.ndim != 1 or (len(c) and not (c.min() >= 0 and c.max() <= 1)):
        raise ValueError(f"confidence and right must be equally many, 0 to 1, got {c.shape} and {r.shape}.")
    place = np.minimum((c * n).astype(int), n - 1)
    found = []
    for i in range(n):
        here = place == i
        means = (float(c[here].mean()), float(r[here].mean())) if here.any() else (math.nan, math.nan)
        found.append(Bin(i / n, (i + 1) / n, int(here.sum()), *means))
    return found


def ece(filled: Sequence[Bin]) -> float:
    """Expected calibration error, 0 (kept) to 1; NaN without any answers."""
    total = sum(b.count for b in filled)
    gaps = [b.count * abs(b.confidence - b.right) for b in filled if b.count]
    return sum(gaps) / total if total else math.nan


def auc(confidence: Sequence[float], right: Sequence[bool]) -> float:
    """How often a right answer is surer than a wrong one: 0.5 is chance, 1 always; NaN with one kind only."""
    c, r = np.asarray(confidence, float), np.asarray(right, bool)
    good, bad = c[r][:, None], c[~r][None]
    if not (good.size and bad.size):
        return math.nan
    return float((good > bad).mean() + 0.5 * (good == bad).mean())


def table(filled: Sequence[Bin]) -> str:
    """The bins as a Markdown table."""
    lines = ["| confidence | words | mean confidence | share right |", "| --- | ---: | ---: | ---: |"]
    for b in filled:
        means = f"{b.confidence:.3f} | {b.right:.3f}" if b.count else "- | -"
        lines.append(f"| {b.low:.1f} to {b.high:.1f} | {b.count} | {means} |")
    return "\n".join(lines)


def plot(filled: Sequence[Bin], title: str) -> str:
    """A reliability plot as SVG text: a circle for each bin, the larger the more answers it holds."""
    side, left, top = 280, 60, 40
    most = max((b.count for b in filled), default=1) or 1

    def at(x: float, y: float) -> tuple[str, str]:
        return f"{left + side * x:.1f}", f"{top + side * (1 - y):.1f}"

    parts = []
    for b in (b for b in filled if b.count):
        x, y = at(b.confidence, b.right)
        size = 3 + 13 * math.sqrt(b.count / most)
        parts.append(f'<circle cx="{x}" cy="{y}" r="{size:.1f}" fill="#2a6fb0" fill-opacity="0.6"/>')
    for tick in (0.0, 0.5, 1.0):
        parts.append(_label(f"{tick:g}", float(at(tick, 0)[0]), top + side + 18))
        parts.append(_label(f"{tick:g}", left - 14, float(at(0, tick)[1]) + 4))
    (x0, y0), (x1, y1), middle = at(0, 0), at(1, 1), left + side / 2
    return "\n".join([
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 380 380" font-family="sans-serif">',
        '<rect width="380" height="380" fill="white"/>',
        f'<rect x="{left}" y="{top}" width="{side}" height="{side}" fill="none" stroke="#888"/>',
        f'<path d="M{x0} {y0} L{x1} {y1}" stroke="#888" stroke-dasharray="4 4"/>',
        *parts,
        _label(title, middle, 24),
        _label("mean confidence", middle, top + side + 38),
        _label("share right", 18, top + side / 2, turned=True),
        "</svg>\n",
    ])  # fmt: skip


def _label(text: str, x: float, y: float, *, turned: bool = False) -> str:
    turn = f' transform="rotate(-90 {x:g} {y:g})"' if turned else ""
    return f'<text x="{x:g}" y="{y:g}" font-size="12" text-anchor="middle"{turn}>{text}</text>'
