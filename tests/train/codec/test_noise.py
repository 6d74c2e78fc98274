"""Noisy speech for denoising codecs (lip2speech/train/codec/noise.py)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lip2speech.audio.io import write_wav
from lip2speech.train.codec.noise import NoiseAugmenter, NoiseConfig, colored_noise, rms


def speech(batch: int = 64, samples: int = 1600) -> Tensor:
    return 0.1 * torch.randn(batch, 1, samples, generator=torch.Generator().manual_seed(0))


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_the_denoise_flag_decides_whether_the_target_is_noisy():
    wav = speech()
    noisy_input, target, denoise = NoiseAugmenter(
        NoiseConfig(noise_prob=1.0, snr_db=(10, 10)), 16_000
    ).make_pairs(wav, rng())
    assert {bool(x) for x in denoise} == {True, False}
    assert torch.equal(target[~denoise], noisy_input[~denoise])
    assert torch.equal(target[denoise], wav[denoise])
    assert not any(torch.equal(a, b) for a, b in zip(noisy_input, wav, strict=True))


def test_the_target_of_clean_speech_is_itself_for_both_flags():
    wav = speech()
    noisy_input, target, denoise = NoiseAugmenter(NoiseConfig(noise_prob=0.0), 16_000).make_pairs(wav, rng())
    assert {bool(x) for x in denoise} == {True, False}
    assert torch.equal(noisy_input, wav)
    assert torch.equal(target, wav)


def test_noise_prob_and_denoise_prob_are_respected():
    wav = speech(400, 200)
    noisy_input, _, denoise = NoiseAugmenter(
        NoiseConfig(noise_prob=0.25, denoise_prob=0.75), 16_000
    ).make_pairs(wav, rng())
    noisy = np.mean([not torch.equal(a, b) for a, b in zip(noisy_input, wav, strict=True)])
    assert noisy == pytest.approx(0.25, abs=0.07)
    assert float(denoise.float().mean()) == pytest.approx(0.75, abs=0.07)


@pytest.mark.parametrize("snr_db", [0.0, 12.0])
def test_the_noise_has_the_configured_snr(snr_db):
    clean, noisy = NoiseAugmenter(NoiseConfig(snr_db=(snr_db, snr_db)), 16_000).mix(speech(), rng())
    found = 20 * torch.log10(rms(clean) / rms(noisy - clean))
    torch.testing.assert_close(found, torch.full_like(found, snr_db), rtol=0, atol=1e-2)


def test_a_mix_that_would_clip_is_attenuated_as_a_whole():
    wav = speech() * 9
    clean, noisy = NoiseAugmenter(NoiseConfig(snr_db=(0, 0)), 16_000).mix(wav, rng())
    assert float(noisy.abs().max()) <= 1
    scale = (clean / wav).flatten(1)
    torch.testing.assert_close(scale, scale[:, :1].expand_as(scale))


def test_synthetic_noises_differ_in_spectrum_and_are_modulated():
    generator = rng()
    noises = [colored_noise(16_000, 16_000, generator) for _ in range(6)]
    spectra = [np.abs(np.fft.rfft(x)) for x in noises]
    low_share = [float(s[:1000].sum() / s.sum()) for s in spectra]
    assert max(low_share) > min(low_share) + 0.2
    blocks = np.square(noises[0]).reshape(20, -1).mean(1)
    assert blocks.max() > 2 * blocks.min()
    assert all(x.dtype == np.float32 and np.isfinite(x).all() for x in noises)


def test_recorded_noise_is_read_from_audio_dirs(tmp_path: Path):
    (tmp_path / "deep").mkdir()
    write_wav(tmp_path / "deep" / "hum.wav", torch.full((4000,), 0.25))
    noise = NoiseAugmenter(NoiseConfig(audio_dirs=(str(tmp_path),)), 16_000)
    torch.testing.assert_close(noise.sample(1600, rng()), torch.full((1600,), 0.25), rtol=0, atol=1e-3)
    with pytest.raises(ValueError, match="noise.audio_dirs hold 4000 samples, a segment needs 4001"):
        noise.sample(4001, rng())


def test_a_folder_without_audio_is_refused(tmp_path: Path):
    with pytest.raises(
        ValueError, match="no .wav, .flac, .ogg in .*; set noise.audio_dirs to folders of noise"
    ):
        NoiseAugmenter(NoiseConfig(audio_dirs=(str(tmp_path),)), 16_000)
    with pytest.raises(ValueError, match="snr_db must be ascending, got 0.5, 0.5 and \\(9, 3\\)"):
        NoiseConfig(snr_db=(9, 3))
