"""How good the speech is: meters of one pair, recognisers, scores, tables, saved runs."""

from __future__ import annotations

from lip2speech.evaluation.meters import DEFAULT_METERS, METERS
from lip2speech.evaluation.recognisers import RECOGNISERS
from lip2speech.evaluation.score import Figure, Pair, Row, Score, score, score_pairs, summarise

__all__ = [
    "DEFAULT_METERS",
    "METERS",
    "RECOGNISERS",
    "Figure",
    "Pair",
    "Row",
    "Score",
    "score",
    "score_pairs",
    "summarise",
]
