"""Compute the metrics of pairs of waveforms, in this process or in parallel ones.

scores = score_pairs([ScoredPair("clip", reference, wav, "bin blue at f two now")])
row = summarize("mel", scores)          # row["wer"].mean, .low, .high; row["estoi"] ...
"""

from __future__ import annotations

import hashlib
import math
import multiprocessing
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lip2speech.constants import SAMPLE_RATE
from lip2speech.evaluation.asr import load_asr
from lip2speech.evaluation.metrics.common import Wav, check_pair, is_silent
from lip2speech.evaluation.metrics.error_rates import (
    char_errors,
    has_repetition_loop,
    normalize_text,
    phoneme_errors,
    slot_errors,
    word_errors,
)
from lip2speech.evaluation.metrics.registry import METRICS, MetricsConfig
from lip2speech.evaluation.results import Score, ScoredPair
from lip2speech.models.speaker_encoder.xvector import XVectorNet, load_xvector

DEFAULT_CONFIG = MetricsConfig()
MAX_PENDING_PER_WORKER = 16


def score(pair: ScoredPair, config: MetricsConfig = DEFAULT_CONFIG) -> Score:
    """The metrics of one pair.

    Raises:
        ValueError: different lengths, or NaN or infinite samples.
        ImportError: a package of the extra `eval` is missing.
    """
    reference, wav = check_pair(pair.reference, pair.wav)
    values: dict[str, Any] = {"reference_fingerprint": audio_fingerprint(reference)}
    for compute in (METRICS[name].compute for name in config.metrics):
        if compute is not None:
            values |= compute(reference, wav)
    if "similarity" in config.metrics and config.speaker_encoder is not None:
        encoder = _load_speaker_encoder(config.speaker_encoder)
        values["speaker_similarity"] = speaker_similarity(encoder, reference, wav)
    if "speed" in config.metrics and len(wav):
        values |= {"rtf": pair.compute_s * SAMPLE_RATE / len(wav), "latency_ms": pair.latency_ms}
    if config.needs_asr:
        values |= error_counts(pair.text, wav, config)
    return Score(pair.id, pair.text, **values)


def error_counts(text: str, wav: Wav, config: MetricsConfig) -> dict[str, Any]:
    """Transcript of (T_a,) and its errors as fields of a `Score`; none if the ASR does not support `text`."""
    asr, reference = load_asr(config.asr), normalize_text(text)
    if not reference or not asr.supports(reference):
        return {}
    transcript = asr.transcribe(wav)
    hypothesis = normalize_text(transcript)
    values: dict[str, Any] = {
        "transcript": transcript,
        "repetition_loop": has_repetition_loop(reference, hypothesis),
    }
    if "wer" in config.metrics:
        values["word_edits"], values["words"] = word_errors(reference, hypothesis)
        if config.asr == "pocketsphinx":
            values["slot_errors"] = tuple(slot_errors(reference, hypothesis))
    if "cer" in config.metrics:
        values["char_edits"], values["chars"] = char_errors(reference, hypothesis)
    if "per" in config.metrics:
        values["phoneme_edits"], values["phonemes"] = phoneme_errors(reference, hypothesis)
    return values


def speaker_similarity(encoder: XVectorNet, reference: NDArray[Any], wav: NDArray[Any]) -> float:
    """Cosine similarity of the embeddings of two (T_a,); 0 for a silent `wav`.

    NaN for a silent reference, and below the encoder's minimum of 0.5 s.
    """
    if is_silent(reference):
        return math.nan
    try:
        a, b = (encoder.embed(torch.from_numpy(x.copy())) for x in (reference, wav))
    except ValueError:  # too short for the encoder
        return math.nan
    return 0.0 if is_silent(wav) else float(a @ b)


def audio_fingerprint(wav: NDArray[Any]) -> str:
    """16 hexadecimal digits that identify (T_a,) at 16-bit precision."""
    return hashlib.sha256(np.round(wav * 32767).astype("<i2").tobytes()).hexdigest()[:16]


@cache
def _load_speaker_encoder(folder: Path) -> XVectorNet:
    return load_xvector(folder).eval()


def score_pairs(
    pairs: Iterable[ScoredPair], config: MetricsConfig = DEFAULT_CONFIG, *, workers: int = 0
) -> list[Score]:
    """Scores in the order of the pairs; `workers` as for `ParallelScorer`."""
    with ParallelScorer(config, workers) as scorer:
        for pair in pairs:
            scorer.add("", pair)
        return scorer.scores().get("", [])


class ParallelScorer:
    """Scores pairs as they arrive, grouped by row, while the caller synthesizes the next ones.

    Args:
        config: what is measured.
        workers: processes; 0 scores synchronously in this one. Each takes a few seconds to start.
    """

    def __init__(self, config: MetricsConfig = DEFAULT_CONFIG, workers: int = 0) -> None:
        self._score = partial(score, config=config)
        self._rows: dict[str, list[Future[Score]]] = {}
        self._pending: deque[Future[Score]] = deque()
        self._max_pending = MAX_PENDING_PER_WORKER * workers
        # spawn: torch's threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(workers, mp_context=context) if workers else None

    def add(self, row: str, pair: ScoredPair) -> None:
        """Score one pair of a row; blocks while too many are pending."""
        future: Future[Score] = Future()
        if self._pool is None:
            future.set_result(self._score(pair))
        else:
            future = self._pool.submit(self._score, pair)
            self._pending.append(future)
            if len(self._pending) > self._max_pending:
                self._pending.popleft().result()
        self._rows.setdefault(row, []).append(future)

    def scores(self) -> dict[str, list[Score]]:
        """All scores by row, in the order in which they were added."""
        return {row: [future.result() for future in futures] for row, futures in self._rows.items()}

    def __enter__(self) -> ParallelScorer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
