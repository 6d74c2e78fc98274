"""Reliability bins, ECE, AUC, table and diagram (lip2speech/evaluation/calibration/reliability.py)."""

import math
from pathlib import Path

import numpy as np
import pytest

from lip2speech.evaluation.calibration.reliability import (
    auc,
    ece,
    reliability_bins,
    reliability_diagram,
    reliability_table,
)
from lip2speech.evaluation.plots import save_figure


def test_every_prediction_is_in_one_bin() -> None:
    bins = reliability_bins([0.0, 0.05, 0.1, 0.95, 1.0], [False, True, True, True, False])
    assert [b.count for b in bins] == [2, 1, *[0] * 7, 2]
    assert (bins[0].confidence, bins[0].accuracy) == (0.025, 0.5)
    assert math.isnan(bins[5].accuracy)
    assert [(b.low, b.high) for b in bins][::9] == [(0.0, 0.1), (0.9, 1.0)]


def test_a_calibrated_confidence_has_no_error_and_overconfidence_has_its_excess() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.random(50_000)
    right = (rng.random(50_000) < confidence).tolist()
    assert ece(reliability_bins(confidence.tolist(), right)) < 0.01
    overconfident = np.clip(confidence + 0.3, 0, 1).tolist()
    assert 0.2 < ece(reliability_bins(overconfident, right)) < 0.3


def test_the_calibration_error_of_a_known_example() -> None:
    bins = reliability_bins([0.9, 0.9, 0.2, 0.2], [True, False, False, False])
    assert ece(bins) == pytest.approx(0.3)
    assert math.isnan(ece(reliability_bins([], [])))


def test_auc_is_the_share_of_correctly_ordered_pairs() -> None:
    assert auc([0.1, 0.9], [False, True]) == 1
    assert auc([0.9, 0.1], [False, True]) == 0
    assert auc([0.5, 0.5], [False, True]) == 0.5
    assert math.isnan(auc([0.5], [True]))


@pytest.mark.parametrize(("confidence", "right"), [([0.5], []), ([1.1], [True]), ([-0.1], [True])])
def test_confidences_outside_0_to_1_or_of_another_length_are_refused(
    confidence: list[float], right: list[bool]
) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        reliability_bins(confidence, right)


def test_the_table_has_a_line_per_bin() -> None:
    lines = reliability_table(reliability_bins([0.25, 0.25], [True, False])).splitlines()
    assert len(lines) == 12
    assert lines[4] == "| 0.2 to 0.3 | 2 | 0.250 | 0.500 |"
    assert lines[-1] == "| 0.9 to 1.0 | 0 | - | - |"


def test_the_diagram_has_a_marker_per_filled_bin_with_an_area_that_grows_with_its_count() -> None:
    figure = reliability_diagram(reliability_bins([0.25, 0.95, 0.95], [True, True, True]), "3 words")
    (markers,) = figure.axes[0].collections
    assert markers.get_offsets().tolist() == [[0.25, 1.0], [0.95, 1.0]]
    small, large = markers.get_sizes()
    assert small < large


def test_the_diagram_of_no_predictions_is_empty() -> None:
    (markers,) = reliability_diagram(reliability_bins([], []), "nothing").axes[0].collections
    assert len(markers.get_offsets()) == 0


def test_the_same_diagram_is_the_same_svg_file(tmp_path: Path) -> None:
    bins = reliability_bins([0.25, 0.95], [True, True])
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_figure(reliability_diagram(bins, "2 words"), tmp_path / name / "plot.svg")
    first, second = ((tmp_path / name / "plot.svg").read_bytes() for name in ("a", "b"))
    assert first == second
    assert b"<svg" in first
