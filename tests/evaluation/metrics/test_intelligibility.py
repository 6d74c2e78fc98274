"""Measures with known answers: identical, silent, late, misheard."""

import math

import numpy as np
import pytest
import torch

from lip2speech.evaluation.metrics import intelligibility as metrics
from lip2speech.evaluation.metrics.intelligibility import (
    WORST_PESQ,
    best_lag_ms,
    bootstrap,
    edit_errors,
    estoi,
    log_mel,
    mel_l1,
    pesq_wb,
    slot_errors,
    stoi,
)

RATE = 16000


def speech_like(seconds: float = 3.0, seed: int = 0) -> np.ndarray:
    """(T_a,) float32: harmonics of a gliding voice under syllables of changing colour, with pauses."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    phase = np.cumsum(120 + 20 * np.sin(2 * np.pi * 0.7 * t)) / RATE * 2 * np.pi
    syllables = np.repeat(rng.uniform(0, 1, int(seconds * 5) + 1) > 0.25, RATE // 5)[: len(t)]
    tilts = np.repeat(rng.uniform(0.3, 1.5, int(seconds * 10) + 1), RATE // 10)[: len(t)]
    voice = sum(np.sin(k * phase) / k**tilts for k in range(1, 40))
    envelope = np.convolve(syllables, np.hanning(800) / 400, mode="same")
    return (0.03 * voice * envelope + 1e-4 * rng.standard_normal(len(t))).astype(np.float32)


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return speech_like()


def test_identical_sounds_get_the_best_marks(speech: np.ndarray) -> None:
    assert stoi(speech, speech) == pytest.approx(1, abs=1e-6)
    assert estoi(speech, speech) == pytest.approx(1, abs=1e-6)
    assert pesq_wb(speech, speech) == pytest.approx(4.644, abs=1e-3)
    assert mel_l1(log_mel(speech), log_mel(speech)) == 0


def test_noise_lowers_every_mark(speech: np.ndarray) -> None:
    noisy = speech + np.random.default_rng(1).standard_normal(len(speech)).astype(np.float32) * 0.1
    assert estoi(speech, noisy) < 0.6
    assert pesq_wb(speech, noisy) < 2
    assert mel_l1(log_mel(speech), log_mel(noisy)) > 0.5


def test_silence_for_speech_gets_the_lowest_marks(speech: np.ndarray) -> None:
    silence = np.zeros_like(speech)
    assert stoi(speech, silence) == 0 == estoi(speech, silence)
    assert pesq_wb(speech, silence) == WORST_PESQ == pytest.approx(1.0427, abs=1e-4)


def test_a_silent_reference_has_no_marks(speech: np.ndarray) -> None:
    silence = np.zeros_like(speech)
    assert math.isnan(stoi(silence, speech)) and math.isnan(pesq_wb(silence, speech))


@pytest.mark.parametrize("n_samples", [0, 1, 100, 3000])
def test_a_very_short_sound_has_no_marks_and_raises_nothing(n_samples: int) -> None:
    wav = speech_like(0.5)[2000 : 2000 + n_samples]
    assert math.isnan(stoi(wav, wav)) and math.isnan(pesq_wb(wav, wav))
    assert math.isnan(best_lag_ms(log_mel(wav), log_mel(wav)))


def test_a_tensor_measures_like_an_array(speech: np.ndarray) -> None:
    noisy = (speech * 0.5 + 0.01).astype(np.float32)
    assert stoi(torch.from_numpy(speech), torch.from_numpy(noisy)) == stoi(speech, noisy)


@pytest.mark.parametrize("frames", [-20, -5, 0, 1, 7, 20])
def test_the_lag_of_a_shifted_sound_is_found(speech: np.ndarray, frames: int) -> None:
    late = np.roll(speech, 160 * frames)
    assert best_lag_ms(log_mel(speech), log_mel(late)) == 10 * frames


def test_a_constant_mel_has_no_lag(speech: np.ndarray) -> None:
    mel = log_mel(speech)
    assert math.isnan(best_lag_ms(mel, np.full_like(mel, -3)))


def test_the_mel_distance_of_a_doubled_level_is_log_two() -> None:
    wav = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * 0.2
    assert mel_l1(log_mel(wav), log_mel(2 * wav)) == pytest.approx(math.log(2), abs=1e-4)


@pytest.mark.parametrize(
    ("transcript", "edits", "slots"),
    [
        ("bin blue at f two now", 0, 0),
        ("BIN blue by f two soon", 2, 2),
        ("", 6, 6),
        ("blue at f two now", 1, 6),
        ("bin blue at f two now now", 1, 0),
    ],
)
def test_words_are_counted_by_edits_and_by_slots(transcript: str, edits: int, slots: int) -> None:
    text = "bin blue at f two now"
    assert edit_errors(text, transcript) == edits
    assert sum(slot_errors(text, transcript)) == slots


def test_words_for_nothing_are_insertions() -> None:
    assert edit_errors("", "") == 0
    assert edit_errors("", "bin blue") == 2


def test_the_bootstrap_interval_holds_the_ratio_and_repeats() -> None:
    errors, words = [0, 1, 2, 0, 1, 3] * 20, [6] * 120
    low, high = bootstrap(errors, words)
    assert low < sum(errors) / sum(words) < high
    assert high - low == pytest.approx(2 * 1.96 * np.std(errors) / 6 / math.sqrt(120), rel=0.1)
    assert bootstrap(errors, words) == (low, high)


def test_the_bootstrap_leaves_out_what_is_unknown() -> None:
    assert bootstrap([0.5, math.nan, 0.5]) == (0.5, 0.5)
    assert all(map(math.isnan, bootstrap([])))
    assert all(map(math.isnan, bootstrap([0, 0], [0, 0])))


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros(9), np.zeros(8), "equally long, got 9 and 8"),
        (np.zeros((1, 9)), np.zeros(9), r"\(T_a,\)"),
        (np.zeros(9, np.int16), np.zeros(9), "int16"),
        (np.zeros(9), np.full(9, np.nan), "not numbers"),
    ],
)
def test_wrong_sounds_are_refused(a: np.ndarray, b: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.check_pair(a, b)
