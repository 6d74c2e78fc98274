"""Confidence features of each video frame (lip2speech/confidence/features.py)."""

import pytest
import torch

from lip2speech.confidence.calibration import Calibration, segment_confidence
from lip2speech.confidence.features import (
    FEATURES,
    SPEECH_LOG_MEL,
    confidence_features,
    normalized_entropy,
)
from lip2speech.models.prediction import Prediction
from tests.confidence.examples import CALIBRATION, WIDTH, blank, predict, stripes


@pytest.mark.parametrize("frames", [1, 2, 7])
@pytest.mark.parametrize("rate", [2, 3])
def test_every_video_frame_has_its_features(frames: int, rate: int) -> None:
    features = confidence_features(predict(frames, 1.0, rate=rate), stripes(frames))
    assert (features.values.shape, features.values.dtype) == ((frames, WIDTH), torch.float32)
    assert features.values.min() >= 0
    assert features.values.max() <= 1
    assert features.code_bits.isnan().all()
    assert features.code_bits.shape == (frames,)


def test_normalized_entropy_is_1_for_uniform_logits_and_0_for_certain_ones() -> None:
    assert normalized_entropy(torch.zeros(7, 4), 0).tolist() == pytest.approx([1.0] * 4, abs=1e-6)
    assert normalized_entropy(torch.tensor([[1000.0], [0.0]]), 0).tolist() == [0.0]
    two_of_four = torch.tensor([[0.0], [0.0], [-1000.0], [-1000.0]])
    assert normalized_entropy(two_of_four, 0).item() == pytest.approx(0.5)


def test_logits_of_minus_infinity_are_not_classes() -> None:
    logits = torch.tensor([[0.0, 0.0, -torch.inf, -torch.inf], [0.0, 1.0, 2.0, 3.0]])
    small, whole = normalized_entropy(logits, 1).tolist()
    assert small == pytest.approx(1.0)
    assert whole == pytest.approx(normalized_entropy(logits[1], 0).item())


def test_heads_that_choose_different_codes_disagree() -> None:
    whole = predict(4, 5.0)
    assert whole.codes is not None
    other = whole.codes.clone()
    other[:, 0] = 6
    half = Prediction(independent_code_logits=whole.independent_code_logits, codes=other)
    values = confidence_features(half, blank(4)).values
    assert values[:, FEATURES.index("head_agreement")].tolist() == [0.5] * 4


def test_a_feature_that_the_model_lacks_is_0() -> None:
    values = confidence_features(predict(3, 0.0, codes=False), blank(3)).values
    assert values.tolist() == [[pytest.approx(1.0), 0.0, 0.0, 0.0, 0.0, 1.0]] * 3
    assert not confidence_features(Prediction(mel=torch.zeros(1, 80, 12)), blank(3)).values[:, :-1].any()


def test_blurred_crops_lower_the_confidence() -> None:
    calibration, column = Calibration(bias=-1.0, sharpness=4.0), FEATURES.index("sharpness")
    rois = [blank(25), *(stripes(25, contrast) for contrast in (2, 10, 40))]
    values = [confidence_features(predict(25, 1.0), roi).values for roi in rois]
    confidence = [segment_confidence(calibration(v)) for v in values]
    assert confidence == sorted(confidence)
    assert confidence[-1] > confidence[0] + 0.3
    assert not values[0][:, column].any()
    assert torch.equal(confidence_features(predict(25, 1.0), torch.from_numpy(rois[-1])).values, values[-1])


def test_confidence_rises_from_uniform_to_certain_logits() -> None:
    peaks = (0.0, 1.0, 3.0, 9.0, 1000.0)
    values = [confidence_features(predict(25, peak), blank(25)).values for peak in peaks]
    confidence = [segment_confidence(CALIBRATION(v)) for v in values]
    assert confidence == sorted(confidence)
    assert len(set(confidence)) == len(confidence)


def test_codes_as_costly_as_uniform_ones_have_a_code_nll_of_one_half() -> None:
    bits = torch.tensor([0.0, 4.0, 12.0, 1e9])  # 16 codes: 4 bits if uniform
    features = confidence_features(predict(4, 1.0), blank(4), bits)
    assert features.values[:, FEATURES.index("code_nll")].tolist() == [0.0, 0.5, 0.75, 1.0]
    assert torch.equal(features.code_bits, bits)


def test_quiet_frames_are_not_speech() -> None:
    mel = torch.full((1, 80, 8), SPEECH_LOG_MEL - 3)
    mel[..., 4:] = SPEECH_LOG_MEL + 3
    values = confidence_features(Prediction(mel=mel), blank(2)).values
    assert values[:, -1].tolist() == pytest.approx([0, 1], abs=0.01)
