"""How good the speech is: meters of one pair, recognisers, scores, tables, saved runs."""

from __future__ import annotations

from lip2speech.evaluation.asr import RECOGNISERS
from lip2speech.evaluation.metrics.registry import DEFAULT_METERS, METERS
from lip2speech.evaluation.scorer import Estimate, ResultRow, Score, ScoredPair, score, score_pairs, summarise

__all__ = [
    "DEFAULT_METERS",
    "METERS",
    "RECOGNISERS",
    "Estimate",
    "ScoredPair",
    "ResultRow",
    "Score",
    "score",
    "score_pairs",
    "summarise",
]
