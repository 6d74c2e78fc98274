"""Scores of single sounds in memory, and one table row over many of them.

    scores = score_pairs([Pair("clip", reference, wav, "bin blue at f two now")])
    row = summarise("mel", scores)          # row.wer, row.wer_interval, row.estoi, ...

A row's word error rate is the sum of errors over the sum of words; all else are means (the lag: a median)
over the clips that have the measure. Intervals are drawn over clips (`metrics.bootstrap`).
"""

from __future__ import annotations

import math
import multiprocessing
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import numpy as np

from lip2speech.evaluation import metrics
from lip2speech.evaluation.metrics import Wav
from lip2speech.evaluation.recogniser import Recogniser, fits_grammar

METERS = ("wer", "stoi", "estoi", "pesq", "mel")
"""What can be measured; "mel" gives the distance and the lag. PESQ takes most of the time."""

NAN_INTERVAL = (math.nan, math.nan)


@dataclass(frozen=True)
class Pair:
    """A sound (T_a,) at 16 kHz beside its equally long reference; `text` is what the reference says."""

    id: str
    reference: Wav
    wav: Wav
    text: str = ""


@dataclass(frozen=True)
class Score:
    """The measures of one pair; NaN where there is none. `words` is 0 where the recogniser does not apply."""

    id: str
    text: str = ""
    transcript: str = ""
    words: int = 0
    edits: int = 0
    slots: tuple[bool, ...] = ()
    stoi: float = math.nan
    estoi: float = math.nan
    pesq: float = math.nan
    mel_l1: float = math.nan
    lag_ms: float = math.nan


@dataclass(frozen=True)
class Row:
    """One line of a table: `name`, how many clips, and what they come to.

    `slot_wers` holds the error rate of each place of the grammar; `lag_spread` the mean absolute lag, in ms.
    """

    name: str
    n: int
    wer: float = math.nan
    wer_interval: tuple[float, float] = NAN_INTERVAL
    wer_slots: float = math.nan
    slot_wers: tuple[float, ...] = ()
    stoi: float = math.nan
    estoi: float = math.nan
    estoi_interval: tuple[float, float] = NAN_INTERVAL
    pesq: float = math.nan
    mel_l1: float = math.nan
    lag_ms: float = math.nan
    lag_spread: float = math.nan
    scores: tuple[Score, ...] = field(default=(), repr=False)


def score(pair: Pair, meters: Collection[str] = METERS) -> Score:
    """All wanted measures of one pair.

    Raises:
        ValueError: sounds of different length or with samples that are not numbers; an unknown meter.
        ImportError: a package of the extra `eval` is missing.
    """
    if unknown := set(meters) - set(METERS):
        raise ValueError(f"no meter is called {sorted(unknown)[0]!r}; there are {', '.join(METERS)}.")
    reference, wav = metrics.check_pair(pair.reference, pair.wav)
    values: dict[str, Any] = {}
    if "stoi" in meters:
        values["stoi"] = metrics.stoi(reference, wav)
    if "estoi" in meters:
        values["estoi"] = metrics.estoi(reference, wav)
    if "pesq" in meters:
        values["pesq"] = metrics.pesq_wb(reference, wav)
    if "mel" in meters:
        mels = metrics.log_mel(reference), metrics.log_mel(wav)
        values |= {"mel_l1": metrics.mel_l1(*mels), "lag_ms": metrics.best_lag_ms(*mels)}
    if "wer" not in meters or not fits_grammar(pair.text):
        return Score(pair.id, pair.text, **values)
    transcript = _recogniser().transcribe(wav)
    return Score(
        pair.id,
        pair.text,
        transcript,
        words=len(pair.text.split()),
        edits=metrics.edit_errors(pair.text, transcript),
        slots=tuple(metrics.slot_errors(pair.text, transcript)),
        **values,
    )


def score_pairs(pairs: Iterable[Pair], meters: Collection[str] = METERS, *, workers: int = 0) -> list[Score]:
    """Scores in the order of the pairs; `workers` as for `Scorer`."""
    with Scorer(meters, workers) as scorer:
        for pair in pairs:
            scorer.add("", pair)
        return scorer.scores().get("", [])


class Scorer:
    """Scores pairs as they come, by row name, beside the work that makes them.

    Args:
        workers: processes; 0 scores in this one, at once. Each takes some seconds to start.
    """

    def __init__(self, meters: Collection[str] = METERS, workers: int = 0) -> None:
        self._measure = partial(score, meters=tuple(meters))
        self._rows: dict[str, list[Future[Score]]] = {}
        self._under_way: deque[Future[Score]] = deque()
        self._most = 16 * workers
        # spawn: torch's threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(workers, mp_context=context) if workers else None

    def add(self, name: str, pair: Pair) -> None:
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

    def __enter__(self) -> Scorer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


@cache
def _recogniser() -> Recogniser:
    return Recogniser()


def summarise(name: str, scores: Sequence[Score]) -> Row:
    """The table row of all `scores`."""
    heard = [s for s in scores if s.words]
    slots = np.array([s.slots for s in heard], dtype=np.float64)  # (n, places)
    return Row(
        name=name,
        n=len(scores),
        wer=_ratio(sum(s.edits for s in heard), sum(s.words for s in heard)),
        wer_interval=metrics.bootstrap([s.edits for s in heard], [s.words for s in heard]),
        wer_slots=float(slots.mean()) if slots.size else math.nan,
        slot_wers=tuple(slots.mean(0).tolist()) if slots.size else (),
        stoi=_mean([s.stoi for s in scores]),
        estoi=_mean([s.estoi for s in scores]),
        estoi_interval=metrics.bootstrap([s.estoi for s in scores]),
        pesq=_mean([s.pesq for s in scores]),
        mel_l1=_mean([s.mel_l1 for s in scores]),
        lag_ms=_median([s.lag_ms for s in scores]),
        lag_spread=_mean([abs(s.lag_ms) for s in scores]),
        scores=tuple(scores),
    )


def _ratio(errors: int, words: int) -> float:
    return errors / words if words else math.nan


def _mean(values: Sequence[float]) -> float:
    known = [v for v in values if math.isfinite(v)]
    return float(np.mean(known)) if known else math.nan


def _median(values: Sequence[float]) -> float:
    known = [v for v in values if math.isfinite(v)]
    return float(np.median(known)) if known else math.nan
