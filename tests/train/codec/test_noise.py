"""Noisy speech for denoising codecs (lip2speech/train/codec/noise.py)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lip2speech.audio.io import write_wav
from lip2speech.train.codec.noise import NoiseAugmenter, NoiseConfig, make_noise, rms


def speech(batch: int = 64, samples: int = 1600) -> Tensor:
    return 0.1 * torch.randn(batch, 1, samples, generator=torch.Generator().manual_seed(0))


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_the_switch_decides_whether_the_noise_is_wanted():
    wav = speech()
    given, wanted, denoise = NoiseAugmenter(NoiseConfig(noise_prob=1.0, snr_db=(10, 10)), 16_000).pairs(
        wav, rng()
    )
    assert {bool(x) for x in denoise} == {True, False}
    assert torch.equal(wanted[~denoise], given[~denoise])
    assert torch.equal(wanted[denoise], wav[denoise])
    assert not any(torch.equal(a, b) for a, b in zip(given, wav, strict=True))


def test_clean_speech_is_wanted_as_it_is_in_both_modes():
    wav = speech()
    given, wanted, denoise = NoiseAugmenter(NoiseConfig(noise_prob=0.0), 16_000).pairs(wav, rng())
    assert {bool(x) for x in denoise} == {True, False}
    assert torch.equal(given, wav)
    assert torch.equal(wanted, wav)


def test_the_share_of_noisy_items_is_kept():
    wav = speech(400, 200)
    given, _, denoise = NoiseAugmenter(NoiseConfig(noise_prob=0.25, denoise_prob=0.75), 16_000).pairs(
        wav, rng()
    )
    noisy = np.mean([not torch.equal(a, b) for a, b in zip(given, wav, strict=True)])
    assert noisy == pytest.approx(0.25, abs=0.07)
    assert float(denoise.float().mean()) == pytest.approx(0.75, abs=0.07)


@pytest.mark.parametrize("snr_db", [0.0, 12.0])
def test_noise_has_the_loudness_asked_for(snr_db):
    clean, noisy = NoiseAugmenter(NoiseConfig(snr_db=(snr_db, snr_db)), 16_000).mix(speech(), rng())
    found = 20 * torch.log10(rms(clean) / rms(noisy - clean))
    torch.testing.assert_close(found, torch.full_like(found, snr_db), rtol=0, atol=1e-2)


def test_a_sum_that_would_clip_is_made_softer_as_a_whole():
    wav = speech() * 9
    clean, noisy = NoiseAugmenter(NoiseConfig(snr_db=(0, 0)), 16_000).mix(wav, rng())
    assert float(noisy.abs().max()) <= 1
    scale = (clean / wav).flatten(1)
    torch.testing.assert_close(scale, scale[:, :1].expand_as(scale))


def test_made_noises_differ_in_colour_and_waver():
    generator = rng()
    noises = [make_noise(16_000, 16_000, generator) for _ in range(6)]
    spectra = [np.abs(np.fft.rfft(x)) for x in noises]
    low_share = [float(s[:1000].sum() / s.sum()) for s in spectra]
    assert max(low_share) > min(low_share) + 0.2
    parts = np.square(noises[0]).reshape(20, -1).mean(1)
    assert parts.max() > 2 * parts.min()
    assert all(x.dtype == np.float32 and np.isfinite(x).all() for x in noises)


def test_recorded_noise_comes_from_its_folders(tmp_path: Path):
    (tmp_path / "deep").mkdir()
    write_wav(tmp_path / "deep" / "hum.wav", torch.full((4000,), 0.25))
    noise = NoiseAugmenter(NoiseConfig(audio_dirs=(str(tmp_path),)), 16_000)
    torch.testing.assert_close(noise.draw(1600, rng()), torch.full((1600,), 0.25), rtol=0, atol=1e-3)
    with pytest.raises(ValueError, match="noise.folders hold 4000 samples, a segment has 4001"):
        noise.draw(4001, rng())


def test_a_folder_without_sounds_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="no .wav, .flac, .ogg in .*; give folders that hold noise"):
        NoiseAugmenter(NoiseConfig(audio_dirs=(str(tmp_path),)), 16_000)
    with pytest.raises(ValueError, match="snr_db must rise, got 0.5, 0.5 and \\(9, 3\\)"):
        NoiseConfig(snr_db=(9, 3))
