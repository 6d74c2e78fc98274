"""A fitted calibration, evaluated on held-out clips: tables and the reliability diagram."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from lip2speech.confidence.calibration import Calibration, segment_confidence
from lip2speech.confidence.tracker import ConfidenceTracker
from lip2speech.evaluation.calibration.reliability import (
    Bin,
    auc,
    ece,
    reliability_bins,
    reliability_diagram,
    reliability_table,
)
from lip2speech.evaluation.calibration.words import CalibrationClip, Condition
from lip2speech.evaluation.plots import save_figure
from lip2speech.evaluation.tables import markdown_table

HEAD = (
    "set", "condition", "clips", "words", "accuracy", "mean confidence", "ECE", "AUC", "mean clip confidence"
)  # fmt: skip


@dataclass(frozen=True)
class CalibrationReport:
    """A fitted calibration and the held-out clips.

    Args:
        calibration: as fitted.
        n_fit_clips: number of clips it was fitted on.
        clips: held-out, clean and degraded.
        mode: how all clips were synthesized.
    """

    calibration: Calibration
    n_fit_clips: int
    clips: tuple[CalibrationClip, ...]
    mode: str = "offline"

    @cached_property
    def words(self) -> list[tuple[CalibrationClip, float, bool]]:
        """Clip, confidence, and whether it is right, of every held-out word."""
        found = []
        for clip in self.clips:
            for window, (_, right) in zip(clip.word_windows(), clip.words, strict=True):
                found.append((clip, segment_confidence(self.calibration(window)), right))
        return found

    def bins(self, set_name: str | None = None, condition: Condition = "clean") -> list[Bin]:
        """The reliability bins of one set, or of all, in one condition."""
        words = [word for word in self.words if _is_in(word[0], set_name, condition)]
        return reliability_bins([confidence for _, confidence, _ in words], [right for _, _, right in words])

    def to_markdown(self) -> str:
        """The weights, a line per set and condition, and a reliability table per condition."""
        weights = ", ".join(f"{name} {value:g}" for name, value in asdict(self.calibration).items())
        sets, conditions = sorted({c.set for c in self.clips}), sorted({c.condition for c in self.clips})
        lines = [
            self._line(name, condition)
            for condition in conditions
            for name in [None, *(sets if len(sets) > 1 else [])]
        ]
        fitted = f"Fitted on {self.n_fit_clips} clips, {self.mode}, clean and degraded: {weights}. Held out:"
        tables = [f"\n{c.title()}:\n\n{reliability_table(self.bins(None, c))}" for c in conditions]
        return "\n".join([fitted, "", markdown_table(HEAD, lines, text_columns=2), *tables])

    def _line(self, set_name: str | None, condition: Condition) -> list[str]:
        words = [word for word in self.words if _is_in(word[0], set_name, condition)]
        clips = [clip for clip in self.clips if _is_in(clip, set_name, condition)]
        confidence, right = [word[1] for word in words], [word[2] for word in words]
        numbers = [
            np.mean(right),
            np.mean(confidence),
            ece(self.bins(set_name, condition)),
            auc(confidence, right),
            np.mean([self._clip_confidence(clip) for clip in clips]),
        ]
        counts = [str(len(clips)), str(len(words))]
        return [set_name or "all", condition, *counts, *(f"{number:.3f}" for number in numbers)]

    def _clip_confidence(self, clip: CalibrationClip) -> float:
        tracker = ConfidenceTracker()
        for score in self.calibration(clip.features):
            tracker.add(score)
        tracker.finish()
        return tracker.mean or 0.0

    def save_plot(self, path: Path) -> None:
        """Write the reliability diagram of all clean words as SVG, atomically."""
        bins = self.bins()
        title = f"{sum(b.count for b in bins)} words, ECE {ece(bins):.3f}"
        save_figure(reliability_diagram(bins, title), Path(path), overwrite=True)


def _is_in(clip: CalibrationClip, set_name: str | None, condition: Condition) -> bool:
    return set_name in (None, clip.set) and clip.condition == condition
