"""Spectral, F0, waveform and temporal distances (lip2speech/evaluation/metrics/acoustic.py)."""

import math

import numpy as np
import pytest

from lip2speech.evaluation.metrics.acoustic import (
    MAX_SI_SDR_DB,
    MCD_SCALE_DB,
    dtw_mean_cost,
    envelope_offset_ms,
    f0_error,
    mcd,
    mel_cepstrum,
    mel_l1,
    mel_offset_ms,
    si_sdr,
)
from lip2speech.evaluation.metrics.common import log_mel
from tests.evaluation.metrics.signals import RATE, harmonic_tone, noise_bursts, speech_like


@pytest.fixture(scope="module")
def mel() -> np.ndarray:
    return log_mel(noise_bursts())


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return speech_like()


def test_identical_audio_has_no_distance(mel: np.ndarray) -> None:
    assert mel_l1(mel, mel) == 0
    assert mcd(mel, mel) == 0
    assert mcd(mel, mel, dtw=True) == pytest.approx(0, abs=1e-6)
    assert mel_offset_ms(mel, mel) == envelope_offset_ms(mel, mel) == 0
    assert f0_error(harmonic_tone(150), harmonic_tone(150))[:2] == (0, 1)
    assert si_sdr(noise_bursts(), noise_bursts()) == MAX_SI_SDR_DB


def test_the_mel_distance_of_a_doubled_level_is_log_two() -> None:
    wav = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * 0.2
    assert mel_l1(log_mel(wav), log_mel(2 * wav)) == pytest.approx(math.log(2), abs=1e-4)


@pytest.mark.parametrize("frames", [-20, -5, 0, 1, 7, 20])
def test_the_mel_offset_of_shifted_speech_is_its_shift(speech: np.ndarray, frames: int) -> None:
    assert mel_offset_ms(log_mel(speech), log_mel(np.roll(speech, 160 * frames))) == 10 * frames


@pytest.mark.parametrize("n_samples", [0, 1, 100, 3000])
def test_audio_too_short_for_the_largest_shift_has_no_mel_offset(n_samples: int) -> None:
    mel = log_mel(speech_like(0.5)[2000 : 2000 + n_samples])
    assert math.isnan(mel_offset_ms(mel, mel))


def test_a_constant_mel_has_no_mel_offset(speech: np.ndarray) -> None:
    mel = log_mel(speech)
    assert math.isnan(mel_offset_ms(mel, np.full_like(mel, -3)))


@pytest.mark.parametrize("order", [1, 13])
def test_a_difference_in_one_cepstrum_is_scaled_by_k(mel: np.ndarray, order: int) -> None:
    tilt = np.cos(np.pi * order * (np.arange(80)[:, None] + 0.5) / 80)
    assert mel_cepstrum(0.5 * tilt)[order - 1] == pytest.approx(0.5)
    assert mcd(mel, mel + 0.5 * tilt) == pytest.approx(0.5 * MCD_SCALE_DB)
    assert pytest.approx(6.1419, abs=1e-4) == MCD_SCALE_DB


def test_mcd_ignores_the_level_and_fine_spectral_structure(mel: np.ndarray) -> None:
    ripple = np.cos(np.pi * 20 * (np.arange(80)[:, None] + 0.5) / 80)
    assert mcd(mel, mel + 3 + ripple) == pytest.approx(0, abs=1e-6)


def test_dtw_compensates_timing_but_not_the_spectrum(mel: np.ndarray) -> None:
    slow = np.repeat(mel, 2, axis=1)
    assert mcd(mel, slow, dtw=True) == pytest.approx(0, abs=1e-5)
    tilt = np.cos(np.pi * (np.arange(80)[:, None] + 0.5) / 80)
    assert 0 < mcd(mel, slow + tilt, dtw=True) <= MCD_SCALE_DB + 1e-9


def test_mcd_without_dtw_needs_equal_lengths(mel: np.ndarray) -> None:
    with pytest.raises(ValueError, match="equal lengths unless dtw"):
        mcd(mel, np.repeat(mel, 2, axis=1))
    assert math.isnan(mcd(mel, mel[:, :0], dtw=True))


def test_the_dtw_path_is_that_of_the_plain_double_loop() -> None:
    costs = np.random.default_rng(0).random((7, 5))
    total, cells = np.full((8, 6), np.inf), np.zeros((8, 6))
    total[0, 0] = 0
    for i in range(7):
        for j in range(5):
            best = min([(i, j), (i, j + 1), (i + 1, j)], key=lambda at: total[at])
            total[i + 1, j + 1], cells[i + 1, j + 1] = total[best] + costs[i, j], cells[best] + 1
    assert dtw_mean_cost(costs) == pytest.approx(total[7, 5] / cells[7, 5])
    assert dtw_mean_cost(costs.T) == pytest.approx(dtw_mean_cost(costs))


def test_an_octave_is_1200_cents() -> None:
    error = f0_error(harmonic_tone(110), harmonic_tone(220))
    assert error.rmse_cents == pytest.approx(1200, abs=15)
    assert (error.reference_hz, error.hz) == (pytest.approx(110, abs=1), pytest.approx(220, abs=2))
    assert error.voicing_f1 > 0.98


def test_half_the_voicing_has_an_f1_of_two_thirds() -> None:
    half = harmonic_tone(150)
    half[8000:] = 0
    assert f0_error(harmonic_tone(150), half).voicing_f1 == pytest.approx(2 / 3, abs=0.03)


def test_unvoiced_audio_has_no_f0_error() -> None:
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * 0.1
    assert math.isnan(f0_error(harmonic_tone(150), noise).rmse_cents)
    assert math.isnan(f0_error(noise, noise).voicing_f1)


@pytest.mark.parametrize("db", [20, 0, -20])
def test_si_sdr_of_orthogonal_noise_is_its_level_at_any_scale(db: int) -> None:
    wav = noise_bursts()
    noise = np.random.default_rng(1).standard_normal(len(wav))
    centered = wav - wav.mean(dtype=np.float64)
    noise -= noise.mean() + centered * (noise @ centered) / (centered @ centered)
    noise *= np.linalg.norm(centered) / np.linalg.norm(noise)
    assert si_sdr(wav, 0.3 * (wav + noise * 10 ** (-db / 20))) == pytest.approx(db, abs=1e-3)


def test_si_sdr_is_minimal_for_silence_and_undefined_for_a_silent_reference() -> None:
    silence = np.zeros_like(noise_bursts())
    assert si_sdr(noise_bursts(), silence) == -MAX_SI_SDR_DB
    assert math.isnan(si_sdr(silence, noise_bursts()))


@pytest.mark.parametrize("frames", [-40, -3, 0, 12, 40])
def test_the_envelope_offset_of_shifted_audio_is_its_shift_at_any_level(frames: int) -> None:
    shifted = 0.5 * np.roll(noise_bursts(), 160 * frames)
    assert envelope_offset_ms(log_mel(noise_bursts()), log_mel(shifted)) == 10 * frames


def test_uncorrelated_constant_or_short_audio_has_no_envelope_offset(mel: np.ndarray) -> None:
    assert math.isnan(envelope_offset_ms(mel, -mel * np.linspace(0, 1, mel.shape[1])))
    assert math.isnan(envelope_offset_ms(mel, np.full_like(mel, -3)))
    assert math.isnan(envelope_offset_ms(mel[:, :50], mel[:, :50]))
