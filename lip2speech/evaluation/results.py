"""Scores per clip and their aggregates over clips, with 95 % bootstrap intervals.

An aggregated error rate is the sum of errors over the sum of reference lengths; any other metric is the mean
or median over the clips for which it is defined (`metrics.registry.MetricColumn`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lip2speech.evaluation.metrics.bootstrap import bootstrap_interval, statistic
from lip2speech.evaluation.metrics.common import Wav
from lip2speech.evaluation.metrics.registry import COLUMNS, MetricColumn


@dataclass(frozen=True)
class ScoredPair:
    """One synthesized waveform (T_a,) at 16 kHz and its reference of equal length.

    Args:
        id: of the clip.
        reference: ground truth.
        wav: to be scored.
        text: spoken in the reference; "" if unknown.
        compute_s, latency_ms: as in `dataset.SynthesizedAudio`.
    """

    id: str
    reference: Wav
    wav: Wav
    text: str = ""
    compute_s: float = math.nan
    latency_ms: float = math.nan


@dataclass(frozen=True)
class Score:
    """Metrics of one pair; NaN if not computed or undefined, 0 words if the ASR does not support the text.

    `slot_errors` has one entry per word of the text. `reference_fingerprint` identifies the reference audio,
    so that only scores against the same one are compared.
    """

    id: str
    text: str = ""
    transcript: str = ""
    reference_fingerprint: str = ""
    words: int = 0
    word_edits: int = 0
    slot_errors: tuple[bool, ...] = ()
    chars: int = 0
    char_edits: int = 0
    phonemes: int = 0
    phoneme_edits: int = 0
    repetition_loop: bool = False
    stoi: float = math.nan
    estoi: float = math.nan
    pesq: float = math.nan
    mel_l1: float = math.nan
    mel_offset_ms: float = math.nan
    mcd: float = math.nan
    mcd_dtw: float = math.nan
    f0_rmse_cents: float = math.nan
    voicing_f1: float = math.nan
    f0_reference_hz: float = math.nan
    f0_hz: float = math.nan
    si_sdr: float = math.nan
    dnsmos_sig: float = math.nan
    dnsmos_bak: float = math.nan
    dnsmos_ovrl: float = math.nan
    speaker_similarity: float = math.nan
    envelope_offset_ms: float = math.nan
    rtf: float = math.nan
    latency_ms: float = math.nan

    @property
    def n_slot_errors(self) -> int:
        """Number of wrong slots."""
        return sum(self.slot_errors)

    @property
    def n_slots(self) -> int:
        """Number of slots."""
        return len(self.slot_errors)

    def value(self, column: MetricColumn) -> tuple[float, float]:
        """The clip's value in a column and its weight; (NaN, 0) if it has none."""
        value = float(getattr(self, column.field))
        weight = float(getattr(self, column.denominator)) if column.denominator else 1.0
        if not (weight and math.isfinite(value)):
            return math.nan, 0.0
        value = abs(value) if column.absolute else value
        return (min(value, weight) if column.denominator else value), weight


class Estimate(NamedTuple):
    """A mean over clips and its 95 % interval; NaN if no clip has a value."""

    mean: float = math.nan
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class ResultRow:
    """One system, over all clips.

    Args:
        name: of the system.
        n: number of clips.
        estimates: by key of `metrics.registry.COLUMNS`.
        slot_error_rates: one per slot of the grammar.
        scores: of each clip.
    """

    name: str
    n: int
    estimates: dict[str, Estimate] = field(default_factory=dict)
    slot_error_rates: tuple[float, ...] = ()
    scores: tuple[Score, ...] = field(default=(), repr=False)

    def __getitem__(self, column: str) -> Estimate:
        return self.estimates.get(column, Estimate())


def summarize(name: str, scores: Sequence[Score]) -> ResultRow:
    """Aggregate the scores of one system."""
    slots = np.array([s.slot_errors for s in scores if s.slot_errors], dtype=np.float64)  # (n, slots)
    estimates = {key: estimate(scores, column) for key, column in COLUMNS.items()}
    return ResultRow(
        name=name,
        n=len(scores),
        estimates={key: found for key, found in estimates.items() if math.isfinite(found.mean)},
        slot_error_rates=tuple(slots.mean(0).tolist()) if slots.size else (),
        scores=tuple(scores),
    )


def estimate(scores: Sequence[Score], column: MetricColumn) -> Estimate:
    """Aggregate of one column with its interval."""
    values, weights = values_and_weights(scores, column)
    if not len(values):
        return Estimate()
    mean = statistic(values, weights, np.arange(len(values))[None], median=column.median)
    return Estimate(float(mean[0]), *bootstrap_interval(values, weights, median=column.median))


def values_and_weights(scores: Sequence[Score], column: MetricColumn) -> tuple[NDArray[Any], NDArray[Any]]:
    """Values and weights, (n,) each, of the clips that have a value."""
    found = [pair for pair in (s.value(column) for s in scores) if pair[1]]
    values, weights = np.array(found, dtype=np.float64).reshape(-1, 2).T
    return values, weights
