"""Paired comparison of two reports (lip2speech/evaluation/compare.py)."""

from dataclasses import replace

import pytest

from lip2speech.evaluation.compare import compare, comparison_table
from lip2speech.evaluation.results import summarize
from tests.evaluation.reports import METRICS, make_report


def test_the_paired_interval_resolves_what_the_separate_intervals_cannot() -> None:
    (row,) = compare(make_report(), make_report(0.02))
    change = row.differences["estoi"]
    assert row.a["estoi"].low < row.b["estoi"].mean < row.a["estoi"].high
    assert change.mean == pytest.approx(0.02)
    assert 0.019 < change.low < 0.02 < change.high < 0.021


def test_equal_reports_have_no_difference() -> None:
    (row,) = compare(make_report(), make_report())
    assert set(row.differences.values()) == {(0, 0, 0)}


def test_the_difference_of_an_error_rate_weights_clips_by_their_words() -> None:
    a = make_report()
    scores = [replace(score, words=1 if i else 99) for i, score in enumerate(a.rows[0].scores)]
    b = replace(a, rows=(summarize("mel", scores),))
    (row,) = compare(a, b)
    assert row.differences["wer"].mean == pytest.approx(row.b["wer"].mean - row.a["wer"].mean)
    assert row.differences["wer"].mean != 0


def test_swapping_the_reports_negates_the_difference() -> None:
    a, b = make_report(), make_report(0.02)
    (forward,), (backward,) = compare(a, b), compare(b, a)
    assert forward.differences["estoi"].mean == -backward.differences["estoi"].mean


def test_only_intervals_that_exclude_zero_are_starred() -> None:
    lines = comparison_table(make_report(), make_report(0.02)).splitlines()
    (estoi,) = [line for line in lines if line.startswith("| ESTOI |")]
    (wer,) = [line for line in lines if line.startswith("| WER |")]
    assert estoi.endswith("+0.020 [+0.019, +0.021] * |")
    assert wer.endswith("+0.000 [+0.000, +0.000] |")


def test_reports_with_different_metrics_are_refused_by_name() -> None:
    other = replace(make_report(), metrics={**METRICS, "version of pystoi": "0.5", "pesq": "1"})
    with pytest.raises(ValueError, match=r"pystoi is \[0.4\] in the first and \[0.5\] in the second; 1 more"):
        compare(make_report(), other)


def test_a_clip_in_one_report_only_is_named() -> None:
    scores = make_report().rows[0].scores
    fewer = replace(make_report(), rows=(summarize("mel", scores[1:]),))
    with pytest.raises(ValueError, match=r"c0 is missing in one of them \(1 clips in all\)"):
        compare(make_report(), fewer)


def test_a_clip_with_another_reference_is_named() -> None:
    *scores, last = make_report().rows[0].scores
    changed = [*scores, replace(last, reference_fingerprint="x")]
    with pytest.raises(ValueError, match="c39 has another reference or text"):
        compare(make_report(), replace(make_report(), rows=(summarize("mel", changed),)))


def test_reports_without_a_common_row_are_refused() -> None:
    other = replace(make_report(), rows=(summarize("codes", make_report().rows[0].scores),))
    with pytest.raises(ValueError, match="no row in common: mel in the first, codes in the second"):
        compare(make_report(), other)
