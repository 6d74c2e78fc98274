"""From features to the confidence of a segment (lip2speech/confidence/calibration.py)."""

import math

import pytest
import torch

from lip2speech.confidence.calibration import NO_FACE, Calibration, FrameScore, segment_confidence
from lip2speech.confidence.features import FEATURES
from tests.confidence.examples import WIDTH, speech


def test_a_logit_is_the_weighted_sum_of_the_features() -> None:
    weights = {"unit_entropy": -4.732, "code_entropy": -34.0256, "head_agreement": 1.3996}
    values = torch.rand(50, WIDTH, generator=torch.Generator().manual_seed(0))
    scores = Calibration(bias=35.5863, **weights)(values)
    expected = values[:, :3] @ torch.tensor(list(weights.values())) + 35.5863
    assert [score.logit for score in scores] == pytest.approx(expected.tolist(), abs=1e-5)
    assert [score.speech for score in scores] == values[:, -1].tolist()


@pytest.mark.parametrize("name", FEATURES)
def test_a_feature_without_a_weight_changes_nothing(name: str) -> None:
    values = torch.rand(50, WIDTH, generator=torch.Generator().manual_seed(0))
    without = values.clone()
    without[:, FEATURES.index(name)] = 0
    assert Calibration(bias=1.0, **{name: 0.0})(values) == Calibration(bias=1.0)(without)
    assert Calibration(bias=1.0, **{name: 2.0})(values) != Calibration(bias=1.0, **{name: 2.0})(without)


def test_a_pause_has_next_to_no_weight() -> None:
    pause = FrameScore(9.0, 0.0)
    mixed = segment_confidence([*speech(*[-1.0] * 10), *[pause] * 15])
    assert mixed == pytest.approx(1 / (1 + math.exp(1)), abs=0.04)
    assert segment_confidence([pause] * 25) > 0.99


def test_frames_without_a_face_count_as_0() -> None:
    assert segment_confidence(speech(2.0, 2.0)) == pytest.approx(1 / (1 + math.exp(-2)))
    half = segment_confidence([*speech(2.0, 2.0), NO_FACE, NO_FACE])
    assert half == pytest.approx(0.5 / (1 + math.exp(-2)))
    assert segment_confidence([NO_FACE] * 3) == segment_confidence([]) == 0


def test_extreme_logits_stay_within_0_and_1() -> None:
    assert 0 <= segment_confidence(speech(-1e9)) < 1e-20
    assert segment_confidence(speech(1e9)) == 1


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(number: float) -> None:
    with pytest.raises(ValueError, match=r"finite numbers.*calibrate the model again"):
        Calibration(bias=0.0, unit_entropy=number)
