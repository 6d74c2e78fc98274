"""Checks of waveforms, silence, the log-mel (lip2speech/evaluation/metrics/common.py)."""

import math

import numpy as np
import pytest
import torch

from lip2speech.evaluation.metrics.common import LOG_FLOOR, check_pair, check_wav, is_silent, log_mel


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros(9), np.zeros(8), "equal lengths, got 9 and 8"),
        (np.zeros((1, 9)), np.zeros(9), r"\(T_a,\)"),
        (np.zeros(9, np.int16), np.zeros(9), "int16"),
        (np.zeros(9), np.full(9, np.nan), "NaN or infinite"),
        (np.full(9, np.inf), np.zeros(9), "NaN or infinite"),
    ],
)
def test_invalid_waveforms_are_refused(a: np.ndarray, b: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_pair(a, b)


def test_a_tensor_and_an_array_are_the_same_waveform() -> None:
    wav = torch.linspace(-1, 1, 7, dtype=torch.float64).requires_grad_()
    checked = check_wav(wav)
    assert checked.dtype == np.float32
    assert checked.tolist() == pytest.approx(wav.tolist())


@pytest.mark.parametrize(("rms", "silent"), [(0.0, True), (9e-5, True), (2e-4, False)])
def test_silence_is_below_minus_80_db(rms: float, silent: bool) -> None:
    assert is_silent(np.full(100, rms, np.float32)) == silent


def test_an_empty_waveform_is_silent() -> None:
    assert is_silent(np.zeros(0, np.float32))


@pytest.mark.parametrize("samples", [160, 16000, 16100])
def test_the_log_mel_has_100_frames_per_second_and_a_floor(samples: int) -> None:
    mel = log_mel(np.zeros(samples, np.float32))
    assert mel.shape == (80, samples // 160)
    assert mel.max() == pytest.approx(math.log(LOG_FLOOR))
