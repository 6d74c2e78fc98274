"""Scores of pairs in memory and the rows they make."""

import math
import sys

import numpy as np
import pytest

from lip2speech.evaluation import METERS, Score, ScoredPair, score_pairs, summarise
from lip2speech.evaluation import scorer as score

TEXT = "bin blue at f two now"


def tone(hz: float) -> np.ndarray:
    """One second, (16000,) float32, swelling and fading, so that it has a lag."""
    t = np.arange(16000) / 16000
    return (0.3 * np.sin(2 * np.pi * hz * t) * np.sin(np.pi * t) ** 2).astype(np.float32)


def test_a_pair_has_the_measures_that_were_asked_for() -> None:
    result = score(ScoredPair("a", tone(300), tone(300), TEXT), ("mel",))
    assert (result.mel_l1, result.lag_ms) == (0, 0)
    assert math.isnan(result.estoi) and result.words == 0


def test_words_that_were_not_heard_are_errors() -> None:
    result = score(ScoredPair("a", tone(300), tone(300), TEXT), ("wer",))
    assert (result.transcript, result.words, result.edits, sum(result.slots)) == ("", 6, 6, 6)


def test_text_beyond_the_grammar_gives_no_word_errors() -> None:
    row = summarise("free", [score(ScoredPair("a", tone(300), tone(300), "hello world"), ("wer",))])
    assert row.figures == {} and math.isnan(row["wer"].mean) and row.n == 1


def test_an_unknown_meter_is_named() -> None:
    with pytest.raises(ValueError, match="'mos'.*wer, cer"):
        score(ScoredPair("a", tone(300), tone(300)), ("mos",))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pesq", None)
    with pytest.raises(ImportError, match="pesq"):
        score(ScoredPair("a", tone(300), tone(300)), ("pesq",))


def test_a_row_sums_errors_and_averages_what_is_known() -> None:
    scores = [
        Score(
            "a",
            TEXT,
            "",
            words=6,
            edits=3,
            slots=(True, True, True, False, False, False),
            estoi=0.4,
            lag_ms=-20.0,
        ),
        Score("b", TEXT, "", words=6, edits=0, slots=(False,) * 6, estoi=0.6, pesq=2.0, lag_ms=40.0),
        Score("c", estoi=math.nan, lag_ms=30.0),
    ]
    row = summarise("x", scores)
    means = [row[name].mean for name in ("wer", "wer_slots", "estoi", "pesq", "lag_ms", "lag_spread")]
    assert row.n == 3 and means == [0.25, 0.25, 0.5, 2.0, 30, 30]
    assert row.slot_wers == (0.5, 0.5, 0.5, 0, 0, 0)
    assert row["wer"] == (0.25, 0.0, 0.5)
    assert math.isnan(row["stoi"].mean)


def test_no_pairs_make_an_empty_row() -> None:
    row = summarise("none", score_pairs([]))
    assert row.n == 0 and row.figures == {} and row.slot_wers == ()


def test_other_processes_give_the_same_scores() -> None:
    pairs = [ScoredPair(str(hz), tone(300), tone(hz)) for hz in (300, 400, 500)]
    here, there = score_pairs(pairs, ("mel",)), score_pairs(pairs, ("mel",), workers=1)
    assert [(s.id, s.mel_l1) for s in here] == [(s.id, s.mel_l1) for s in there]
    assert set(METERS) >= {"mel"}
