"""Metrics of adaptation (lip2speech/train/adapt/evaluate.py, targets.py)."""

from pathlib import Path

import torch

from lip2speech.models.prediction import Prediction
from lip2speech.models.speaker_encoder import LTASSpeakerEncoder
from lip2speech.pipeline import Lip2Speech
from lip2speech.train.adapt.evaluate import best_path, evaluate, synthetic_wer
from lip2speech.train.adapt.targets import TargetSynthesizer, stack_frames
from tests.factories import make_model, save_system
from tests.train.adapt.test_trainer import config, recording


def test_unit_accuracy_and_wer_are_fractions(units: str, tmp_path: Path) -> None:
    model = Lip2Speech.from_pretrained(save_system(tmp_path / "base"), "cpu")
    recordings = [recording(0), recording(1)]
    found = evaluate(model, recordings, config(unit_tokenizer=units), lambda wav, text: int(text == "word 1"))
    assert found.unit_accuracy is not None
    assert 0 <= found.unit_accuracy <= 1
    assert found.wer == 0.25


def test_metrics_are_none_without_tokenizer_and_recognizer(tmp_path: Path) -> None:
    model = Lip2Speech.from_pretrained(save_system(tmp_path / "base"), "cpu")
    found = evaluate(model, [recording(0)], config(), None)
    assert (found.unit_accuracy, found.wer) == (None, None)


def test_synthetic_wer_counts_the_errors_on_the_target_audio() -> None:
    assert synthetic_wer([recording(0), recording(1)], config(), lambda wav, text: 1) == 0.5


def test_the_best_path_follows_a_prediction_at_half_speed(units: str) -> None:
    target = TargetSynthesizer(units, 1, LTASSpeakerEncoder())(recording(0))[0]
    slow = target.mel.repeat_interleave(2, 0)  # (2N, 160)
    prediction = Prediction(mel=slow.reshape(-1, 80).T[None])
    assert torch.allclose(stack_frames(prediction.require("mel"))[0], slow)
    path = best_path(make_model(), prediction, target, config())
    assert (path - torch.arange(len(path)) // 2).abs().max() <= 1
