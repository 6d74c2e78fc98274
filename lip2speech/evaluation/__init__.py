"""Evaluation: metrics of synthesized speech, ASR backends, reports, comparisons, confidence calibration."""

from __future__ import annotations

from lip2speech.evaluation.asr import ASR_BACKENDS
from lip2speech.evaluation.metrics.registry import DEFAULT_METRICS, METRICS, MetricsConfig
from lip2speech.evaluation.results import Estimate, ResultRow, Score, ScoredPair, summarize
from lip2speech.evaluation.scorer import score, score_pairs

__all__ = [
    "ASR_BACKENDS",
    "DEFAULT_METRICS",
    "METRICS",
    "Estimate",
    "MetricsConfig",
    "ResultRow",
    "Score",
    "ScoredPair",
    "score",
    "score_pairs",
    "summarize",
]
