"""Confidence second by second (lip2speech/confidence/tracker.py)."""

import pytest

from lip2speech.confidence.calibration import NO_FACE, FrameScore
from lip2speech.confidence.tracker import ConfidenceTracker
from tests.confidence.examples import speech


def test_a_tracker_knows_the_last_second_each_second_and_the_mean() -> None:
    tracker = ConfidenceTracker()
    assert tracker.mean is None
    scores = [*speech(*[0.0] * 25, *[50.0] * 25), *[NO_FACE] * 5]
    last_second = [tracker.add(score) for score in scores]
    assert last_second[0] == last_second[24] == 0.5
    assert last_second[36] == pytest.approx(1.0)
    assert last_second[49] == pytest.approx(1.0)
    tracker.finish()
    tracker.finish()
    assert list(tracker.seconds) == pytest.approx([0.5, 1.0, 0.0])
    assert tracker.mean == pytest.approx((0.5 * 25 + 25) / 55)


def test_a_tracker_may_forget_seconds_but_not_the_mean() -> None:
    tracker = ConfidenceTracker(history_s=2)
    for score in speech(*[-50.0] * 50, *[50.0] * 50):
        tracker.add(score)
    assert list(tracker.seconds) == pytest.approx([1.0, 1.0])
    assert tracker.mean == pytest.approx(0.5)


def test_the_mean_is_weighted_by_speech() -> None:
    tracker = ConfidenceTracker()
    for score in [*speech(*[0.0] * 25), *[FrameScore(9.0, 0.0)] * 25]:
        tracker.add(score)
    assert tracker.mean == pytest.approx(0.5, abs=0.01)
