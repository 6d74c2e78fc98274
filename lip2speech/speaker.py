"""A voice as one small vector: what the heads need to know of a speaker, taken from any recording of them.

The vector holds the mean and the deviation of the log-mel over speech frames (the long-term spectrum: vocal
tract and microphone) and the 10, 50 and 90 % quantiles of log2 F0 (register and liveliness). It has no
learned part, so a vector made today fits every model trained on this definition. Knows nothing of consent
or files.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lip2speech.mel import LogMel, MelConfig, stretch_bands

SPEAKER_DIM = 163
SPEECH_FLOOR = 3.5  # nats below the loudest frame; quieter frames are pauses and tell the room, not the voice
F0_RANGE = (60.0, 400.0)
F0_QUANTILES = (0.1, 0.5, 0.9)
PITCH_FRAME, PITCH_HOP = 640, 160
MIN_SECONDS = 0.5
MIN_PEAK = 1e-3
FRAMES_AT_ONCE = 2000  # 20 s, to spare memory with a long recording


def embed_speaker(wav: Tensor, sample_rate: int = 16000) -> Tensor:
    """The speaker vector (163,) of a mono recording (T_a,) at 16 kHz, float32 in [-1, 1].

    Raises:
        ValueError: the recording is shorter than half a second or silent.
    """
    if sample_rate != 16000 or wav.ndim != 1:
        raise ValueError(f"a voice must be (T_a,) at 16000 Hz, got {tuple(wav.shape)} at {sample_rate} Hz.")
    if wav.numel() < MIN_SECONDS * sample_rate:
        seconds = wav.numel() / sample_rate
        raise ValueError(f"a voice needs {MIN_SECONDS} s of speech, got {seconds:.2f} s; record more.")
    if not wav.abs().max() > MIN_PEAK:  # so written that NaN is refused as well
        raise ValueError(f"a voice needs audible speech, the peak is {wav.abs().max():.1g}; record louder.")
    level = wav / wav.abs().max()
    mel = LogMel(MelConfig())(level[None, None])[0]  # (80, T)
    energy = mel.exp().sum(0).log()
    mel = mel[:, energy > energy.max() - SPEECH_FLOOR]
    spectrum = torch.cat([mel.mean(1), mel.std(1, correction=0)]) / 4.0 + torch.tensor(
        [1.0] * 80 + [0.0] * 80
    )
    return torch.cat([spectrum, pitch_quantiles(level)])


def shorten_tract(speaker: Tensor, factor: float) -> Tensor:
    """The vector (163,) of a voice with spectrum and pitch `factor` times as high; no pitch stays none."""
    mean, deviation, pitch = speaker.split([80, 80, 3])
    moved = [stretch_bands(x, factor, MelConfig()) for x in (mean, deviation)]
    return torch.cat([*moved, torch.where(pitch.any(), pitch + math.log2(factor), pitch)])


def pitch_quantiles(wav: Tensor) -> Tensor:
    """Three quantiles of log2(F0 / 128 Hz) over voiced frames of (T_a,) at 16 kHz; zeros without a voice.

    F0 is the best normalised autocorrelation per 40 ms frame, voiced when it exceeds 0.6.
    """
    parts = [pitch_track(part) for part in wav.unfold(0, PITCH_FRAME, PITCH_HOP).split(FRAMES_AT_ONCE)]
    f0, strength, energy = (torch.cat(values) for values in zip(*parts, strict=True))
    f0 = f0[(energy > 0.01 * energy.max()) & (strength > 0.6)]
    if f0.numel() < 5:
        return torch.zeros(3)
    return torch.quantile(torch.log2(f0 / 128.0), torch.tensor(F0_QUANTILES))


def pitch_track(frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Frames (T, 640) -> F0 in Hz, how periodic each frame is (1 = fully), and its mean square, (T,) each."""
    low, high = int(16000 / F0_RANGE[1]), int(16000 / F0_RANGE[0])
    spectrum = torch.fft.rfft(frames - frames.mean(1, keepdim=True), 2048)
    correlation = torch.fft.irfft(spectrum.abs() ** 2)[:, : high + 1]
    overlap = 1.0 - torch.arange(high + 1) / PITCH_FRAME  # a shorter overlap sums fewer products
    correlation = correlation / (correlation[:, :1] + 1e-6) / overlap
    # Twice the period fits as well as the period itself, so shorter ones are favoured.
    favour_short = 1.0 - 0.15 * torch.arange(low, high + 1) / high
    strength, lag = (correlation[:, low:] * favour_short).max(1)
    return 16000 / (lag + low).float(), strength, frames.pow(2).mean(1)
