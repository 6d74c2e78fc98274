"""Synthetic signals for the tests of metrics, at 16 kHz."""

import numpy as np

RATE = 16000


def speech_like(seconds: float = 3.0, seed: int = 0) -> np.ndarray:
    """(T_a,) float32: harmonics of a gliding F0 under syllables of changing color, with pauses."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    phase = np.cumsum(120 + 20 * np.sin(2 * np.pi * 0.7 * t)) / RATE * 2 * np.pi
    syllables = np.repeat(rng.uniform(0, 1, int(seconds * 5) + 1) > 0.25, RATE // 5)[: len(t)]
    tilts = np.repeat(rng.uniform(0.3, 1.5, int(seconds * 10) + 1), RATE // 10)[: len(t)]
    voice = sum(np.sin(k * phase) / k**tilts for k in range(1, 40))
    envelope = np.convolve(syllables, np.hanning(800) / 400, mode="same")
    return (0.03 * voice * envelope + 1e-4 * rng.standard_normal(len(t))).astype(np.float32)


def harmonic_tone(hz: float, seconds: float = 1.0) -> np.ndarray:
    """(T_a,) float32: a tone of constant level with four overtones."""
    t = np.arange(int(seconds * RATE)) / RATE
    return sum(0.1 / k * np.sin(2 * np.pi * hz * k * t) for k in range(1, 6)).astype(np.float32)


def noise_bursts(seed: int = 0) -> np.ndarray:
    """(32000,) float32: noise under a random envelope, which aligns with itself at one shift only."""
    rng = np.random.default_rng(seed)
    envelope = np.repeat(rng.uniform(0, 1, 40) ** 3, 800)
    return (0.2 * envelope * rng.standard_normal(32000)).astype(np.float32)
