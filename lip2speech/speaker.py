"""A voice as one small vector: what the heads need to know of a speaker, taken from any recording of them.

The vector holds the mean and the deviation of the log-mel over speech frames (the long-term spectrum: vocal
tract and microphone) and the 10, 50 and 90 % quantiles of log2 F0 (register and liveliness). It has no
learned part, so a vector made today fits every model trained on this definition. Models with another encoder
take its vectors from files. Knows nothing of consent.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from lip2speech.mel import LogMel, MelConfig, stretch_bands
from lip2speech.pitch import pitch_quantiles

SPEAKER_DIM = 163
SPEECH_FLOOR = 3.5  # nats below the loudest frame; quieter frames are pauses and tell the room, not the voice
MIN_SECONDS = 0.5
MIN_PEAK = 1e-3


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


def read_vector(path: str, size: int) -> Tensor:
    """A voice vector (S,) of another encoder from a .npy file. ValueError: no such file, or not one."""
    try:
        vector = np.load(
            path, mmap_mode="r", allow_pickle=False
        )  # a file that lies about its size is refused
        if not isinstance(vector, np.ndarray) or vector.size != size:
            raise ValueError(f"it holds {getattr(vector, 'shape', 'several arrays')}")
        if not np.issubdtype(vector.dtype, np.floating) or not np.isfinite(vector).all():
            raise ValueError(f"it holds {vector.dtype}, and not finite numbers alone")
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path}: is no voice vector of {size} numbers ({error}).") from None
    return torch.from_numpy(np.array(vector, np.float32).reshape(size))
