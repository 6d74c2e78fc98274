"""The words of synthesized clips (lip2speech/evaluation/calibration/words.py)."""

from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from lip2speech.evaluation.asr.pocketsphinx import PocketSphinxASR
from lip2speech.evaluation.calibration.words import CalibrationClip, score_words
from lip2speech.evaluation.dataset import prepared_items
from lip2speech.evaluation.streaming import stream_configs
from lip2speech.pipeline import Lip2Speech
from lip2speech.streaming import stream_roi
from tests.evaluation.calibration.clips import FEATURES_AND_WEIGHT
from tests.evaluation.calibration.conftest import FakeASR


@pytest.fixture
def model(tiny_system: Path) -> Lip2Speech:
    return Lip2Speech.from_pretrained(tiny_system, device="cpu")


def test_a_word_has_the_features_of_the_second_around_it() -> None:
    features = torch.arange(75.0)[:, None].expand(75, FEATURES_AND_WEIGHT)
    clip = CalibrationClip("a", "b", features, ((0.1, True), (1.5, True), (2.9, True)))
    windows = clip.word_windows()
    assert windows.shape == (3, 25, FEATURES_AND_WEIGHT)
    assert windows[:, 0, 0].tolist() == [0, 25, 50]


def test_a_clip_shorter_than_a_second_is_one_window() -> None:
    clip = CalibrationClip("a", "b", torch.zeros(7, FEATURES_AND_WEIGHT), ((0.1, True),))
    assert clip.word_windows().shape == (1, 7, FEATURES_AND_WEIGHT)


def test_recognized_words_are_compared_one_by_one(model: Lip2Speech, prepared: Path) -> None:
    item = prepared_items(prepared, "test")[0]
    clip = score_words(model, item, "a:test", cast(PocketSphinxASR, FakeASR()))
    assert [right for _, right in clip.words] == [True] * 4 + [False] * 2
    assert clip.words[1][0] == pytest.approx(0.15)


def test_if_nothing_is_recognized_all_words_are_wrong_and_evenly_spaced(
    model: Lip2Speech, prepared: Path
) -> None:
    item, asr = prepared_items(prepared, "test")[0], FakeASR()
    asr.n_calls = 2
    clip = score_words(model, item, "a:test", cast(PocketSphinxASR, asr))
    centers = [center for center, _ in clip.words]
    assert [right for _, right in clip.words] == [False] * 6
    assert np.diff(centers) == pytest.approx([14 / 25 / 6] * 5)
    assert centers[0] == pytest.approx(14 / 25 / 12)


def test_a_degraded_clip_has_other_features_of_the_same_shape(model: Lip2Speech, prepared: Path) -> None:
    item, asr = prepared_items(prepared, "test")[0], cast(PocketSphinxASR, FakeASR())
    clean, degraded = (score_words(model, item, "a", asr, condition) for condition in ("clean", "degraded"))
    assert clean.features.shape == degraded.features.shape
    assert not torch.equal(clean.features, degraded.features)


def test_a_clip_within_one_window_streams_as_it_is_synthesized_offline(model: Lip2Speech) -> None:
    roi = np.random.default_rng(0).integers(0, 256, (20, 96, 96), dtype=np.uint8)
    (config,) = stream_configs([400]).values()
    streamed, prediction = stream_roi(model, roi, config=config), model.predict(roi)
    torch.testing.assert_close(streamed.wav, model.vocode(prediction), rtol=0, atol=1e-4)
    torch.testing.assert_close(streamed.features.values, model.frame_features(prediction, roi).values)
