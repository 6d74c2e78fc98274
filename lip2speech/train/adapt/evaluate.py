"""Evaluation of a model on recordings of one speaker: unit accuracy and word error rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lip2speech.constants import UNIT_RATE
from lip2speech.losses.soft_dtw import soft_dtw_alignment
from lip2speech.models.lip2speech import LipModel
from lip2speech.models.prediction import Prediction
from lip2speech.pipeline import Lip2Speech
from lip2speech.train.adapt.recordings import Recording
from lip2speech.train.adapt.targets import AdaptationTarget, TargetSynthesizer, pairwise_cost
from lip2speech.train.adapt.trainer import AdaptConfig

HARD_GAMMA = 0.005  # at which the soft alignment is nearly the single best path

WordErrorFn = Callable[[Tensor, str], int]
"""Word errors of a recognizer on audio (T_a,) at 16 kHz, given the reference text."""


@dataclass(frozen=True)
class AdaptationMetrics:
    """Unit accuracy and word error rate; None where there is no tokenizer or no recognizer."""

    unit_accuracy: float | None
    wer: float | None


def evaluate(
    model: Lip2Speech,
    recordings: Sequence[Recording],
    config: AdaptConfig,
    word_error_fn: WordErrorFn | None,
) -> AdaptationMetrics:
    """Accuracy of a model on held-out recordings, with targets in the first of the voices.

    A predicted unit is compared with the target's unit at the step that the best path of the mels aligns it
    to.
    """
    synthesizer = TargetSynthesizer(config.unit_tokenizer, config.n_tts_voices, model.speaker_encoder)
    hits: list[Tensor] = []
    errors = n_words = 0
    for recording in recordings:
        target = synthesizer(recording)[0]
        prediction = model.predict(recording.roi, target.speaker)
        if target.units is not None:
            units = prediction.require("unit_logits")[0].argmax(0)  # (2T,)
            hits.append(units == target.units[best_path(model.model, prediction, target, config)])
        if word_error_fn is not None:
            errors += word_error_fn(model.vocode(prediction), recording.text)
            n_words += len(recording.text.split())
    accuracy = float(torch.cat(hits).float().mean()) if hits else None
    return AdaptationMetrics(accuracy, errors / n_words if n_words else None)


def synthetic_wer(recordings: Sequence[Recording], config: AdaptConfig, word_error_fn: WordErrorFn) -> float:
    """Word error rate of the target audio itself: a lower bound."""
    errors = sum(word_error_fn(r.target_audio(config.n_tts_voices)[0], r.text) for r in recordings)
    return errors / sum(len(r.text.split()) for r in recordings)


def best_path(
    model: LipModel, prediction: Prediction, target: AdaptationTarget, config: AdaptConfig
) -> Tensor:
    """For each predicted step the target step that the mels align it to, (2T,)."""
    cost = pairwise_cost(model, prediction, [target], 0.0)
    rows, columns = (torch.tensor([size]) for size in cost.shape[1:])
    path = soft_dtw_alignment(cost, rows, columns, gamma=HARD_GAMMA, band=config.dtw_bandwidth_s * UNIT_RATE)
    return path[0].argmax(1)
