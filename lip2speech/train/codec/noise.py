"""Noise augmentation for codecs that can denoise (SoundStream, Zeghidour et al. 2021, section III-F).

A training pair is the codec's input, its target, and the denoise flag. With the flag off the target is the
input, noise included; with the flag on it is the clean speech; for clean speech both are the same. Noise
comes from audio files or is synthetic: random spectrum, level and amplitude modulation, which is no recording
of a street.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lip2speech.audio.io import read_wav

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg")
N_POINTS = 8  # random points of a synthetic spectrum, evenly spaced on a logarithmic axis
MIN_HZ = 50.0
TILT_DB = (-6.0, 0.0)  # per octave: from brown to white
SPECTRUM_STD_DB = 6.0  # around the tilt
AM_RATE_HZ = 10  # rate at which the amplitude of synthetic noise is drawn


@dataclass(frozen=True)
class NoiseConfig:
    """Noise augmentation of codec training.

    Attributes:
        noise_prob: share of items that get noise.
        denoise_prob: share of items whose denoise flag is on.
        snr_db: range of the signal-to-noise ratio.
        audio_dirs: folders of audio files, at any depth; none: synthetic noise.
    """

    noise_prob: float = 0.5
    denoise_prob: float = 0.5
    snr_db: tuple[float, float] = (0.0, 30.0)
    audio_dirs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        probs = (self.noise_prob, self.denoise_prob)
        if not (all(0 <= prob <= 1 for prob in probs) and self.snr_db[0] <= self.snr_db[1]):
            raise ValueError(
                "noise_prob and denoise_prob must be in 0..1 and snr_db must be ascending, "
                f"got {self.noise_prob}, {self.denoise_prob} and {self.snr_db}."
            )


class DenoisingPair(NamedTuple):
    """input and target (B, 1, T_a); denoise flag (B,) bool."""

    input: Tensor
    target: Tensor
    denoise: Tensor


class NoiseAugmenter:
    """Mixes noise with speech at `sample_rate`."""

    def __init__(self, config: NoiseConfig, sample_rate: int):
        self.config, self.sample_rate = config, sample_rate
        self.noise = read_noise(config.audio_dirs, sample_rate) if config.audio_dirs else None

    def make_pairs(self, wav: Tensor, rng: np.random.Generator) -> DenoisingPair:
        """Clean speech (B, 1, T_a) -> input, target and denoise flag of training."""
        batch = len(wav)
        is_noisy = torch.from_numpy(rng.random(batch) < self.config.noise_prob)
        denoise = torch.from_numpy(rng.random(batch) < self.config.denoise_prob)
        clean, noisy = self.mix(wav, rng)
        noisy = torch.where(is_noisy[:, None, None], noisy, wav)
        clean = torch.where(is_noisy[:, None, None], clean, wav)
        return DenoisingPair(noisy, torch.where(denoise[:, None, None], clean, noisy), denoise)

    def mix(self, wav: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Speech (B, 1, T_a) -> clean and noisy speech, both attenuated where the sum would clip."""
        batch, _, samples = wav.shape
        noise = torch.stack([self.sample(samples, rng) for _ in range(batch)])[:, None]
        snr_db = torch.from_numpy(rng.uniform(*self.config.snr_db, size=(batch, 1, 1)).astype(np.float32))
        gain = rms(wav) / rms(noise).clamp_min(1e-8) * 10 ** (-snr_db / 20)
        mixed = wav + gain * noise
        scale = mixed.abs().amax(-1, keepdim=True).clamp_min(1.0)
        return wav / scale, mixed / scale

    def sample(self, samples: int, rng: np.random.Generator) -> Tensor:
        """Noise (samples,) float32 of any level."""
        if self.noise is None:
            return torch.from_numpy(colored_noise(samples, self.sample_rate, rng))
        if len(self.noise) < samples:
            raise ValueError(
                f"noise.audio_dirs hold {len(self.noise)} samples, a segment needs {samples}; add more noise."
            )
        start = int(rng.integers(len(self.noise) - samples + 1))
        return self.noise[start : start + samples].float() / 32768


def colored_noise(samples: int, sample_rate: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Noise of a random spectrum and amplitude modulation: (samples,) float32."""
    hertz = np.fft.rfftfreq(samples, 1 / sample_rate).clip(MIN_HZ)
    octaves = np.log2(hertz / MIN_HZ)
    points = np.linspace(0, octaves[-1], N_POINTS)
    level_db = rng.uniform(*TILT_DB) * points + SPECTRUM_STD_DB * rng.standard_normal(N_POINTS)
    gain = 10 ** (np.interp(octaves, points, level_db) / 20)
    noise = np.fft.irfft(gain * np.fft.rfft(rng.standard_normal(samples)), samples)
    amplitude = rng.uniform(0.3, 1.0, samples * AM_RATE_HZ // sample_rate + 2)
    time = np.arange(samples) * AM_RATE_HZ / sample_rate
    return (noise * np.interp(time, np.arange(len(amplitude)), amplitude)).astype(np.float32)


def read_noise(folders: tuple[str, ...], sample_rate: int) -> Tensor:
    """All audio files below the folders, concatenated, (T_a,) int16."""
    found = [path for folder in folders for path in sorted(Path(folder).rglob("*"))]
    paths = [path for path in found if path.suffix.lower() in AUDIO_SUFFIXES]
    if not paths:
        suffixes = ", ".join(AUDIO_SUFFIXES)
        raise ValueError(f"no {suffixes} in {', '.join(folders)}; set noise.audio_dirs to folders of noise.")
    return torch.cat([(read_wav(p, sample_rate).clamp(-1, 1) * 32767).to(torch.int16) for p in paths])


def rms(wav: Tensor) -> Tensor:
    """(B, 1, T_a) -> (B, 1, 1)."""
    return wav.square().mean(-1, keepdim=True).sqrt()
