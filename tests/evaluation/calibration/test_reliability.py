"""Bins, their calibration error, and what is made of them (lip2speech/evaluation/reliability.py)."""

import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from lip2speech.evaluation.reliability import auc, bins, ece, plot, table


def test_every_answer_is_in_one_bin() -> None:
    filled = bins([0.0, 0.05, 0.1, 0.95, 1.0], [False, True, True, True, False])
    assert [b.count for b in filled] == [2, 1, *[0] * 7, 2]
    assert (filled[0].confidence, filled[0].right) == (0.025, 0.5)
    assert math.isnan(filled[5].right)
    assert [(b.low, b.high) for b in filled][::9] == [(0.0, 0.1), (0.9, 1.0)]


def test_a_confidence_that_keeps_its_word_has_no_error() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.random(50_000)
    right = rng.random(50_000) < confidence
    assert ece(bins(confidence.tolist(), right.tolist())) < 0.01
    boast = np.clip(confidence + 0.3, 0, 1)
    assert 0.2 < ece(bins(boast.tolist(), right.tolist())) < 0.3


def test_the_error_is_known_where_the_answers_are_few() -> None:
    assert ece(bins([0.9, 0.9, 0.2, 0.2], [True, False, False, False])) == pytest.approx(0.3)
    assert math.isnan(ece(bins([], [])))


def test_an_order_is_measured_by_pairs() -> None:
    assert auc([0.1, 0.9], [False, True]) == 1 and auc([0.9, 0.1], [False, True]) == 0
    assert auc([0.5, 0.5], [False, True]) == 0.5 and math.isnan(auc([0.5], [True]))


@pytest.mark.parametrize(("confidence", "right"), [([0.5], []), ([1.1], [True]), ([-0.1], [True])])
def test_what_is_no_confidence_is_refused(confidence: list[float], right: list[bool]) -> None:
    with pytest.raises(ValueError, match="equally many, 0 to 1"):
        bins(confidence, right)


def test_a_table_has_a_line_for_each_bin() -> None:
    lines = table(bins([0.25, 0.25], [True, False])).splitlines()
    assert len(lines) == 12 and lines[4] == "| 0.2 to 0.3 | 2 | 0.250 | 0.500 |"
    assert lines[-1] == "| 0.9 to 1.0 | 0 | - | - |"


def test_a_plot_is_svg_with_a_circle_for_each_filled_bin() -> None:
    drawn = ElementTree.fromstring(plot(bins([0.25, 0.95, 0.95], [True, True, True]), "3 words"))
    circles = [e for e in drawn.iter() if e.tag.endswith("circle")]
    assert [(c.get("cx"), c.get("cy")) for c in circles] == [("130.0", "40.0"), ("326.0", "40.0")]
    assert float(circles[0].get("r", "0")) < float(circles[1].get("r", "0"))
