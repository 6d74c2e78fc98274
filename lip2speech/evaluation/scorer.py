"""Scores of single sounds in memory, and one table row over many of them.

    scores = score_pairs([Pair("clip", reference, wav, "bin blue at f two now")])
    row = summarise("mel", scores)          # row["wer"].mean, .low, .high; row["estoi"] ...

A row's error rates are sums of errors over sums of words, all else means or medians over the clips that have
the measure (`meters.Column`). Intervals are drawn over clips (`metrics.bootstrap`).
"""

from __future__ import annotations

import hashlib
import math
import multiprocessing
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from lip2speech.constants import SAMPLE_RATE
from lip2speech.evaluation.asr import recogniser_of
from lip2speech.evaluation.metrics import error_rates as words
from lip2speech.evaluation.metrics import intelligibility as metrics
from lip2speech.evaluation.metrics.intelligibility import Wav
from lip2speech.evaluation.metrics.registry import (
    COLUMNS,
    DEFAULT_METERS,
    METERS,
    WORD_METERS,
    MetricColumn,
    check_meters,
)
from lip2speech.models.speaker_encoder.xvector import XVectorNet, load_speaker_encoder


@dataclass(frozen=True)
class ScoredPair:
    """A sound (T_a,) at 16 kHz beside its equally long reference; `text` is what the reference says.

    Args:
        seconds, late_ms: as in `clips.Said`.
    """

    id: str
    reference: Wav
    wav: Wav
    text: str = ""
    seconds: float = math.nan
    late_ms: float = math.nan


@dataclass(frozen=True)
class Score:
    """The measures of one pair; NaN where there is none. `words` is 0 where the recogniser does not apply.

    `reference` is a sum of the reference's samples, so that only like is compared with like.
    """

    id: str
    text: str = ""
    transcript: str = ""
    reference: str = ""
    words: int = 0
    edits: int = 0
    slots: tuple[bool, ...] = ()
    letters: int = 0
    letter_edits: int = 0
    phones: int = 0
    phone_edits: int = 0
    looped: bool = False
    stoi: float = math.nan
    estoi: float = math.nan
    pesq: float = math.nan
    mel_l1: float = math.nan
    lag_ms: float = math.nan
    mcd: float = math.nan
    mcd_warped: float = math.nan
    f0_cents: float = math.nan
    voicing_f1: float = math.nan
    f0_reference_hz: float = math.nan
    f0_hz: float = math.nan
    si_sdr: float = math.nan
    mos_speech: float = math.nan
    mos_background: float = math.nan
    mos: float = math.nan
    similarity: float = math.nan
    offset_ms: float = math.nan
    rtf: float = math.nan
    latency_ms: float = math.nan

    @property
    def slot_edits(self) -> int:
        """How many words are wrong at their place."""
        return sum(self.slots)

    @property
    def places(self) -> int:
        """Of how many."""
        return len(self.slots)

    def figure(self, column: MetricColumn) -> tuple[float, float]:
        """What the clip adds to a column, and with which weight; (NaN, 0) for nothing."""
        value = float(getattr(self, column.value))
        weight = float(getattr(self, column.share_of)) if column.share_of else 1.0
        if not (weight and math.isfinite(value)):
            return math.nan, 0.0
        value = abs(value) if column.size else value
        return (min(value, weight) if column.share_of else value), weight


class Estimate(NamedTuple):
    """A mean over clips and its 95 % interval."""

    mean: float = math.nan
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class ResultRow:
    """One line of a table: `name`, how many clips, and what they come to, by the name of a `Column`.

    `slot_wers` holds the error rate of each place of the grammar.
    """

    name: str
    n: int
    figures: dict[str, Estimate] = field(default_factory=dict)
    slot_wers: tuple[float, ...] = ()
    scores: tuple[Score, ...] = field(default=(), repr=False)

    def __getitem__(self, column: str) -> Estimate:
        return self.figures.get(column, Estimate())


def score(
    pair: ScoredPair,
    meters: Collection[str] = DEFAULT_METERS,
    *,
    recogniser: str = "grammar",
    encoder: Path | None = None,
) -> Score:
    """All wanted measures of one pair.

    Args:
        recogniser: who listens, see `recognisers`. encoder: the folder of who judges speakers.
    Raises:
        ValueError: sounds of different length or with samples that are not numbers; an unknown meter.
        ImportError: a package of the extra `eval` is missing.
    """
    check_meters(meters, encoder=encoder)
    reference, wav = metrics.check_pair(pair.reference, pair.wav)
    values: dict[str, Any] = {"reference": sum_of(reference)}
    for measure in (METERS[name].measure for name in meters):
        if measure is not None:
            values |= measure(reference, wav)
    if "similarity" in meters:
        values["similarity"] = similarity(_encoder(encoder), reference, wav)
    if "speed" in meters and len(wav):
        values |= {"rtf": pair.seconds * SAMPLE_RATE / len(wav), "latency_ms": pair.late_ms}
    if set(meters) & set(WORD_METERS):
        values |= listen(pair.text, wav, meters, recogniser)
    return Score(pair.id, pair.text, **values)


def listen(text: str, wav: Wav, meters: Collection[str], recogniser: str) -> dict[str, Any]:
    """The transcript of (T_a,) and its errors as fields of a `Score`; nothing for a text it could not say."""
    listener, said = recogniser_of(recogniser), words.normalise(text)
    if not said or not listener.covers(said):
        return {}
    transcript = listener.transcribe(wav)
    heard = words.normalise(transcript)
    values: dict[str, Any] = {"transcript": transcript, "looped": words.loops(said, heard)}
    if "wer" in meters:
        values["edits"], values["words"] = words.word_errors(said, heard)
        if recogniser == "grammar":
            values["slots"] = tuple(metrics.slot_errors(said, heard))
    if "cer" in meters:
        values["letter_edits"], values["letters"] = words.letter_errors(said, heard)
    if "per" in meters:
        values["phone_edits"], values["phones"] = words.phone_errors(said, heard)
    return values


def similarity(encoder: XVectorNet, reference: np.ndarray, wav: np.ndarray) -> float:
    """Cosine of what the judge hears in two of (T_a,): 1 the same voice; 0 for silence, NaN below 0.5 s."""
    if metrics.is_silent(reference):
        return math.nan
    try:
        a, b = (encoder.embed(torch.from_numpy(x.copy())) for x in (reference, wav))
    except ValueError:  # too short to tell who speaks
        return math.nan
    return 0.0 if metrics.is_silent(wav) else float(a @ b)


def sum_of(wav: np.ndarray) -> str:
    """Sixteen digits that tell (T_a,) from other sounds, at the precision of 16 bits."""
    return hashlib.sha256(np.round(wav * 32767).astype("<i2").tobytes()).hexdigest()[:16]


@cache
def _encoder(folder: Path) -> XVectorNet:
    return load_speaker_encoder(folder).eval()


def score_pairs(
    pairs: Iterable[ScoredPair], meters: Collection[str] = DEFAULT_METERS, *, workers: int = 0
) -> list[Score]:
    """Scores in the order of the pairs; `workers` as for `Scorer`."""
    with ParallelScorer(meters, workers) as scorer:
        for pair in pairs:
            scorer.add("", pair)
        return scorer.scores().get("", [])


class ParallelScorer:
    """Scores pairs as they come, by row name, beside the work that makes them.

    Args:
        workers: processes; 0 scores in this one, at once. Each takes some seconds to start.
        recogniser, encoder: as in `score`.
    """

    def __init__(
        self,
        meters: Collection[str] = DEFAULT_METERS,
        workers: int = 0,
        *,
        recogniser: str = "grammar",
        encoder: Path | None = None,
    ) -> None:
        self._measure = partial(score, meters=tuple(meters), recogniser=recogniser, encoder=encoder)
        self._rows: dict[str, list[Future[Score]]] = {}
        self._under_way: deque[Future[Score]] = deque()
        self._most = 16 * workers
        # spawn: torch's threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(workers, mp_context=context) if workers else None

    def add(self, name: str, pair: ScoredPair) -> None:
        """Score one pair of the row `name`; waits while too many are under way."""
        future: Future[Score] = Future()
        if self._pool is None:
            future.set_result(self._measure(pair))
        else:
            future = self._pool.submit(self._measure, pair)
            self._under_way.append(future)
            if len(self._under_way) > self._most:
                self._under_way.popleft().result()
        self._rows.setdefault(name, []).append(future)

    def scores(self) -> dict[str, list[Score]]:
        """All scores by row name, in the order in which they were added."""
        return {name: [future.result() for future in futures] for name, futures in self._rows.items()}

    def __enter__(self) -> ParallelScorer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def summarise(name: str, scores: Sequence[Score]) -> ResultRow:
    """The table row of all `scores`."""
    slots = np.array([s.slots for s in scores if s.slots], dtype=np.float64)  # (n, places)
    return ResultRow(
        name=name,
        n=len(scores),
        figures={
            key: found
            for key, column in COLUMNS.items()
            if math.isfinite((found := figure(scores, column)).mean)
        },
        slot_wers=tuple(slots.mean(0).tolist()) if slots.size else (),
        scores=tuple(scores),
    )


def figure(scores: Sequence[Score], column: MetricColumn) -> Estimate:
    """What `scores` come to in a column, and its interval."""
    values, weights = parts(scores, column)
    if not len(values):
        return Estimate()
    mean = metrics.statistic(values, weights, np.arange(len(values))[None], median=column.median)
    return Estimate(float(mean[0]), *metrics.bootstrap(values, weights, median=column.median))


def parts(scores: Sequence[Score], column: MetricColumn) -> tuple[np.ndarray, np.ndarray]:
    """Values and weights (n,) of the clips that have any."""
    found = [one for one in (s.figure(column) for s in scores) if one[1]]
    values, weights = np.array(found, dtype=np.float64).reshape(-1, 2).T
    return values, weights
