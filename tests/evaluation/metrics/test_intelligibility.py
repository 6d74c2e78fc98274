"""STOI, ESTOI and PESQ (lip2speech/evaluation/metrics/intelligibility.py)."""

import math

import numpy as np
import pytest
import torch

from lip2speech.evaluation.metrics.intelligibility import estoi, pesq_wb, stoi
from tests.evaluation.metrics.signals import speech_like


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return speech_like()


def test_identical_audio_scores_the_maximum(speech: np.ndarray) -> None:
    assert stoi(speech, speech) == pytest.approx(1, abs=1e-6)
    assert estoi(speech, speech) == pytest.approx(1, abs=1e-6)
    assert pesq_wb(speech, speech) == pytest.approx(4.644, abs=1e-3)


def test_noise_lowers_every_score(speech: np.ndarray) -> None:
    noisy = speech + np.random.default_rng(1).standard_normal(len(speech)).astype(np.float32) * 0.1
    assert estoi(speech, noisy) < 0.6
    assert pesq_wb(speech, noisy) < 2


def test_silence_in_place_of_speech_scores_the_minimum(speech: np.ndarray) -> None:
    silence = np.zeros_like(speech)
    assert stoi(speech, silence) == 0 == estoi(speech, silence)
    assert pesq_wb(speech, silence) == pytest.approx(1.0427, abs=1e-4)


def test_a_silent_reference_has_no_score(speech: np.ndarray) -> None:
    silence = np.zeros_like(speech)
    assert math.isnan(stoi(silence, speech))
    assert math.isnan(pesq_wb(silence, speech))


@pytest.mark.parametrize("n_samples", [0, 1, 100, 3000])
def test_audio_too_short_for_a_metric_has_no_score(n_samples: int) -> None:
    wav = speech_like(0.5)[2000 : 2000 + n_samples]
    assert math.isnan(stoi(wav, wav))
    assert math.isnan(pesq_wb(wav, wav))


def test_tensors_and_arrays_score_the_same(speech: np.ndarray) -> None:
    noisy = (speech * 0.5 + 0.01).astype(np.float32)
    assert stoi(torch.from_numpy(speech), torch.from_numpy(noisy)) == stoi(speech, noisy)
