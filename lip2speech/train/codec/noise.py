"""Noisy speech for codecs that can denoise (SoundStream, Zeghidour et al. 2021, section III-F).

A pair is what the codec hears, what it should say, and whether its switch is on. With the switch off it
should say what it hears, noise and all; with the switch on, the clean speech alone; of clean speech the same
in both cases. Noise comes from sound files, or is made: a random colour, loudness and wavering, which is no
recording of a street. It knows no codec.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lip2speech.audio.io import read_wav

SOUNDS = (".wav", ".flac", ".ogg")
BANDS = 8  # random points of a made noise's spectrum, even on a logarithmic scale
LOWEST_HZ = 50.0
TILT_DB = (-6.0, 0.0)  # per octave: from brown to white
BUMPS_DB = 6.0  # standard deviation around the tilt
WAVER_HZ = 10  # how often a made noise's loudness is drawn anew


@dataclass(frozen=True)
class NoiseConfig:
    """Noise of a codec's training.

    noise_prob: of items that get noise; denoise: of items whose switch is on; snr_db: from the loudest noise to
    the softest; folders: of sound files, any depth; none: the noise is made.
    """

    noise_prob: float = 0.5
    denoise_prob: float = 0.5
    snr_db: tuple[float, float] = (0.0, 30.0)
    audio_dirs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (
            0 <= self.noise_prob <= 1 and 0 <= self.denoise_prob <= 1 and self.snr_db[0] <= self.snr_db[1]
        ):
            raise ValueError(
                "share and denoise must be in 0..1 and snr_db must rise, "
                f"got {self.noise_prob}, {self.denoise_prob} and {self.snr_db}."
            )


class DenoisingPair(NamedTuple):
    """given, wanted (B, 1, T_a); denoise (B,) bool."""

    given: Tensor
    wanted: Tensor
    denoise: Tensor


class NoiseAugmenter:
    """Noise to mix with speech at `sample_rate`."""

    def __init__(self, config: NoiseConfig, sample_rate: int):
        self.config, self.sample_rate = config, sample_rate
        self.pool = read_pool(config.audio_dirs, sample_rate) if config.audio_dirs else None

    def pairs(self, wav: Tensor, rng: np.random.Generator) -> DenoisingPair:
        """Clean speech (B, 1, T_a) -> what training gives and wants."""
        batch = len(wav)
        noisy = torch.from_numpy(rng.random(batch) < self.config.noise_prob)
        denoise = torch.from_numpy(rng.random(batch) < self.config.denoise_prob)
        clean, given = self.mix(wav, rng)
        given = torch.where(noisy[:, None, None], given, wav)
        clean = torch.where(noisy[:, None, None], clean, wav)
        return DenoisingPair(given, torch.where(denoise[:, None, None], clean, given), denoise)

    def mix(self, wav: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Speech (B, 1, T_a) -> the speech, and speech with noise; both softer where the sum would clip."""
        batch, _, samples = wav.shape
        noise = torch.stack([self.draw(samples, rng) for _ in range(batch)])[:, None]
        snr_db = torch.from_numpy(rng.uniform(*self.config.snr_db, size=(batch, 1, 1)).astype(np.float32))
        loudness = rms(wav) / rms(noise).clamp_min(1e-8) * 10 ** (-snr_db / 20)
        mixed = wav + loudness * noise
        scale = mixed.abs().amax(-1, keepdim=True).clamp_min(1.0)
        return wav / scale, mixed / scale

    def draw(self, samples: int, rng: np.random.Generator) -> Tensor:
        """(samples,) float32 of any loudness."""
        if self.pool is None:
            return torch.from_numpy(make_noise(samples, self.sample_rate, rng))
        if len(self.pool) < samples:
            raise ValueError(
                f"noise.folders hold {len(self.pool)} samples, a segment has {samples}; give more noise."
            )
        start = int(rng.integers(len(self.pool) - samples + 1))
        return self.pool[start : start + samples].float() / 32768


def make_noise(samples: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of a random colour that wavers: (samples,) float32."""
    hertz = np.fft.rfftfreq(samples, 1 / sample_rate).clip(LOWEST_HZ)
    octaves = np.log2(hertz / LOWEST_HZ)
    points = np.linspace(0, octaves[-1], BANDS)
    level_db = rng.uniform(*TILT_DB) * points + BUMPS_DB * rng.standard_normal(BANDS)
    gain = 10 ** (np.interp(octaves, points, level_db) / 20)
    noise = np.fft.irfft(gain * np.fft.rfft(rng.standard_normal(samples)), samples)
    waver = rng.uniform(0.3, 1.0, samples * WAVER_HZ // sample_rate + 2)
    time = np.arange(samples) * WAVER_HZ / sample_rate
    return (noise * np.interp(time, np.arange(len(waver)), waver)).astype(np.float32)


def read_pool(folders: tuple[str, ...], sample_rate: int) -> Tensor:
    """All sound files below the folders, one after the other, (T_a,) int16."""
    found = [path for folder in folders for path in sorted(Path(folder).rglob("*"))]
    paths = [path for path in found if path.suffix.lower() in SOUNDS]
    if not paths:
        raise ValueError(f"no {', '.join(SOUNDS)} in {', '.join(folders)}; give folders that hold noise.")
    return torch.cat([(read_wav(p, sample_rate).clamp(-1, 1) * 32767).to(torch.int16) for p in paths])


def rms(wav: Tensor) -> Tensor:
    """(B, 1, T_a) -> (B, 1, 1)."""
    return wav.square().mean(-1, keepdim=True).sqrt()
