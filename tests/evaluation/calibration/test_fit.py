"""Fitting a calibration (lip2speech/evaluation/calibration/fit.py)."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from lip2speech.confidence.features import FEATURES
from lip2speech.evaluation.calibration.fit import fit_calibration, fit_logistic_regression
from lip2speech.evaluation.calibration.reliability import ece
from lip2speech.evaluation.calibration.report import CalibrationReport
from lip2speech.evaluation.calibration.words import CONDITIONS, CalibrationClip
from tests.evaluation.calibration.clips import FEATURES_AND_WEIGHT, random_clips

HELD_OUT_SEED = 1


def relabel(
    clips: Sequence[CalibrationClip], feature: str, bias: float, weight: float
) -> list[CalibrationClip]:
    """The clips with words that are right according to a logistic model of one feature."""
    rng, column = np.random.default_rng(2), FEATURES.index(feature)
    relabeled = []
    for clip in clips:
        p = 1 / (1 + np.exp(-(bias + weight * float(clip.features[0, column]))))
        relabeled.append(replace(clip, words=((0.6, bool(rng.random() < p)),)))
    return relabeled


def invert(clips: Sequence[CalibrationClip]) -> list[CalibrationClip]:
    """The clips with right and wrong exchanged."""
    return [replace(clip, words=((0.6, not clip.words[0][1]),)) for clip in clips]


def test_logistic_regression_recovers_the_weights_of_its_data() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((20_000, 2))
    y = rng.random(20_000) < 1 / (1 + np.exp(-(1 - 3 * x[:, 0] + 2 * x[:, 1])))
    bias, weights = fit_logistic_regression(x, y.astype(float), np.ones(len(x)))
    assert bias == pytest.approx(1, abs=0.15)
    assert weights == pytest.approx([-3, 2], abs=0.2)


def test_a_sample_weight_counts_as_repetitions() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((40, 2)), (rng.random(40) < 0.5).astype(float)
    weight = np.where(np.arange(40) < 20, 2.0, 1.0)
    repeated = np.r_[x, x[:20]], np.r_[y, y[:20]]
    # Standardization sees the repetitions too, so only the unregularized limit is equal.
    bias, weights = fit_logistic_regression(np.tile(x, (500, 1)), np.tile(y, 500), np.tile(weight, 500))
    other_bias, other = fit_logistic_regression(
        np.tile(repeated[0], (500, 1)), np.tile(repeated[1], 500), np.ones(30_000)
    )
    assert bias == pytest.approx(other_bias, abs=1e-2)
    assert weights == pytest.approx(other, abs=1e-2)


def test_a_constant_feature_does_not_break_the_fit() -> None:
    y = np.array([0.0, 1.0, 1.0, 0.0])
    bias, weights = fit_logistic_regression(np.ones((4, 1)), y, np.ones(4))
    assert np.isfinite([bias, *weights]).all()


def test_the_fitted_confidence_is_calibrated_on_other_clips() -> None:
    calibration = fit_calibration(random_clips(3000, 0))
    assert calibration.unit_entropy == pytest.approx(-8, abs=1)
    held_out = CalibrationReport(calibration, 3000, tuple(random_clips(3000, HELD_OUT_SEED)))
    assert ece(held_out.bins()) < 0.03


@pytest.mark.parametrize(
    ("feature", "bias", "weight"),
    [("sharpness", -2, 5), ("code_nll", 3, -6), ("unit_entropy", 4, -8), ("head_agreement", -1, 4)],
)
def test_a_feature_gets_the_weight_by_which_words_depend_on_it(
    feature: str, bias: float, weight: float
) -> None:
    calibration = fit_calibration(relabel(random_clips(4000, 3), feature, bias, weight))
    assert getattr(calibration, feature) == pytest.approx(weight, abs=0.15 * abs(weight))
    assert calibration.bias == pytest.approx(bias, abs=0.5)


def test_sharpness_calibrates_clean_and_degraded_clips_alike() -> None:
    column = FEATURES.index("sharpness")
    clips = [
        replace(clip, condition=CONDITIONS[float(clip.features[0, column]) < 0.5])
        for clip in relabel(random_clips(4000, 2), "sharpness", -2, 5)
    ]
    report = CalibrationReport(fit_calibration(clips), 1, tuple(clips))
    assert all(ece(report.bins(None, condition)) < 0.05 for condition in CONDITIONS)


@pytest.mark.parametrize("feature", ["unit_entropy", "code_nll", "sharpness", "head_agreement"])
def test_a_weight_of_the_wrong_sign_is_dropped(feature: str) -> None:
    sign = 1 if feature in ("sharpness", "head_agreement") else -1
    clips = invert(relabel(random_clips(2000, 0), feature, -3.0 * sign, 6.0 * sign))
    assert getattr(fit_calibration(clips), feature) == 0


def test_every_set_has_the_same_weight_however_many_clips_it_has() -> None:
    few = [replace(clip, set="b:test", words=((0.6, False),)) for clip in random_clips(20, 1)]
    means = []
    for n in (200, 2000):
        report = CalibrationReport(fit_calibration([*random_clips(n, 0), *few]), n, tuple(few))
        means.append(np.mean([confidence for _, confidence, _ in report.words]))
    assert means[0] == pytest.approx(means[1], abs=0.05)


@pytest.mark.parametrize("right", [True, False])
def test_words_that_are_all_right_or_all_wrong_are_refused(right: bool) -> None:
    features = torch.zeros(30, FEATURES_AND_WEIGHT)
    clips = [CalibrationClip("a", str(i), features, ((0.5, right),)) for i in range(2)]
    with pytest.raises(ValueError, match="needs right and wrong words, got . right of 2"):
        fit_calibration(clips)
