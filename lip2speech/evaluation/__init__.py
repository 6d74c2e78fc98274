"""How good the speech is: measures of one pair, an offline recogniser, scores over many pairs, and the table of all routes."""

from __future__ import annotations

from lip2speech.evaluation.score import METERS, Pair, Row, Score, score, score_pairs, summarise

__all__ = ["METERS", "Pair", "Row", "Score", "score", "score_pairs", "summarise"]
