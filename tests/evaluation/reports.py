"""Synthetic evaluation reports."""

from lip2speech.evaluation.report import EvaluationReport
from lip2speech.evaluation.results import Score, summarize

METRICS = {"estoi": "1: definition", "version of pystoi": "0.4"}


def make_report(gain: float = 0.0) -> EvaluationReport:
    """A report on 40 clips of widely different ESTOI, each higher by about `gain`."""
    scores = [
        Score(
            f"c{i}",
            "bin blue",
            reference_fingerprint=f"r{i}",
            words=2,
            word_edits=i % 4,
            slot_errors=(i % 2 == 0, False),
            estoi=i / 100 + gain * (1 + (-1) ** i / 10),
        )
        for i in range(40)
    ]
    return EvaluationReport(
        "tiny", "test", (summarize("mel", scores),), {}, fingerprint="abc", metrics=METRICS
    )
