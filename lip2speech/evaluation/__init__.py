"""How good the speech is: measures of one pair, an offline recogniser, scores, the table of routes."""

from __future__ import annotations

from lip2speech.evaluation.score import METERS, Pair, Row, Score, score, score_pairs, summarise

__all__ = ["METERS", "Pair", "Row", "Score", "score", "score_pairs", "summarise"]
