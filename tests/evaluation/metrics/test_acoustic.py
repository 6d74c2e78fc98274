"""Colour, melody, waveform and time: identical, tilted, an octave apart, shifted, stretched."""

import math

import numpy as np
import pytest

from lip2speech.evaluation.metrics.acoustic import (
    DECIBELS,
    MOST_DB,
    mcd,
    mel_cepstrum,
    offset_ms,
    pitch_error,
    si_sdr,
    warped_mean,
)
from lip2speech.evaluation.metrics.intelligibility import log_mel

RATE = 16000


def hum(hz: float, seconds: float = 1.0) -> np.ndarray:
    """(T_a,) float32: a tone with its overtones, as loud all the time."""
    t = np.arange(int(seconds * RATE)) / RATE
    return sum(0.1 / k * np.sin(2 * np.pi * hz * k * t) for k in range(1, 6)).astype(np.float32)


def bursts(seed: int = 0) -> np.ndarray:
    """(32000,) float32: noise under a random envelope, which has one best lag only."""
    rng = np.random.default_rng(seed)
    envelope = np.repeat(rng.uniform(0, 1, 40) ** 3, 800)
    return (0.2 * envelope * rng.standard_normal(32000)).astype(np.float32)


@pytest.fixture(scope="module")
def mel() -> np.ndarray:
    return log_mel(bursts())


def test_identical_sounds_are_at_no_distance(mel: np.ndarray) -> None:
    assert mcd(mel, mel) == 0 and mcd(mel, mel, warp=True) == pytest.approx(0, abs=1e-6)
    assert offset_ms(mel, mel) == 0
    assert pitch_error(hum(150), hum(150))[:2] == (0, 1)
    assert si_sdr(bursts(), bursts()) == MOST_DB


@pytest.mark.parametrize("order", [1, 13])
def test_one_cepstrum_apart_is_k_times_its_size(mel: np.ndarray, order: int) -> None:
    tilt = np.cos(np.pi * order * (np.arange(80)[:, None] + 0.5) / 80)
    assert mel_cepstrum(0.5 * tilt)[order - 1] == pytest.approx(0.5)
    assert mcd(mel, mel + 0.5 * tilt) == pytest.approx(0.5 * DECIBELS)
    assert pytest.approx(6.1419, abs=1e-4) == DECIBELS


def test_the_level_and_fine_bands_are_no_matter_of_colour(mel: np.ndarray) -> None:
    ripple = np.cos(np.pi * 20 * (np.arange(80)[:, None] + 0.5) / 80)
    assert mcd(mel, mel + 3 + ripple) == pytest.approx(0, abs=1e-6)


def test_warping_forgives_time_and_nothing_else(mel: np.ndarray) -> None:
    slow = np.repeat(mel, 2, axis=1)
    assert mcd(mel, slow, warp=True) == pytest.approx(0, abs=1e-5)
    tilt = np.cos(np.pi * (np.arange(80)[:, None] + 0.5) / 80)
    assert 0 < mcd(mel, slow + tilt, warp=True) <= DECIBELS + 1e-9
    with pytest.raises(ValueError, match="equally long unless warped"):
        mcd(mel, slow)
    assert math.isnan(mcd(mel, mel[:, :0], warp=True))


def test_the_cheapest_path_is_that_of_the_plain_double_loop() -> None:
    costs = np.random.default_rng(0).random((7, 5))
    total, cells = np.full((8, 6), np.inf), np.zeros((8, 6))
    total[0, 0] = 0
    for i in range(7):
        for j in range(5):
            best = min([(i, j), (i, j + 1), (i + 1, j)], key=lambda at: total[at])
            total[i + 1, j + 1], cells[i + 1, j + 1] = total[best] + costs[i, j], cells[best] + 1
    assert warped_mean(costs) == pytest.approx(total[7, 5] / cells[7, 5])
    assert warped_mean(costs.T) == pytest.approx(warped_mean(costs))


def test_an_octave_is_1200_cents() -> None:
    error = pitch_error(hum(110), hum(220))
    assert error.cents == pytest.approx(1200, abs=15)
    assert (error.reference_hz, error.hz) == (pytest.approx(110, abs=1), pytest.approx(220, abs=2))
    assert error.voicing_f1 > 0.98


def test_half_the_voicing_has_an_f1_of_two_thirds() -> None:
    half = hum(150)
    half[8000:] = 0
    assert pitch_error(hum(150), half).voicing_f1 == pytest.approx(2 / 3, abs=0.03)


def test_without_a_voice_there_is_no_pitch_to_be_wrong() -> None:
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * 0.1
    assert math.isnan(pitch_error(hum(150), noise).cents)
    assert math.isnan(pitch_error(noise, noise).voicing_f1)


def test_si_sdr_has_its_known_values_at_any_level() -> None:
    wav = bursts()
    noise = np.random.default_rng(1).standard_normal(len(wav))
    wav64 = wav - wav.mean(dtype=np.float64)
    noise -= noise.mean() + wav64 * (noise @ wav64) / (wav64 @ wav64)
    noise *= np.linalg.norm(wav64) / np.linalg.norm(noise)
    for db in (20, 0, -20):
        assert si_sdr(wav, 0.3 * (wav + noise * 10 ** (-db / 20))) == pytest.approx(db, abs=1e-3)
    assert si_sdr(wav, np.zeros_like(wav)) == -MOST_DB
    assert math.isnan(si_sdr(np.zeros_like(wav), wav))


@pytest.mark.parametrize("frames", [-40, -3, 0, 12, 40])
def test_the_offset_of_a_shifted_sound_is_its_shift_at_any_level(frames: int) -> None:
    late = 0.5 * np.roll(bursts(), 160 * frames)
    assert offset_ms(log_mel(bursts()), log_mel(late)) == 10 * frames


def test_a_sound_that_does_not_follow_has_no_offset(mel: np.ndarray) -> None:
    assert math.isnan(offset_ms(mel, np.full_like(mel, -3)))
    assert math.isnan(offset_ms(mel, -mel * np.linspace(0, 1, mel.shape[1])))
    assert math.isnan(offset_ms(mel[:, :50], mel[:, :50]))
