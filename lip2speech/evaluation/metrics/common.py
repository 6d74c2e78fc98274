"""What all metrics share: checked waveforms, silence, and the log-mel spectrogram."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lip2speech.audio.mel import LogMel

Wav = Tensor | NDArray[Any]
"""(T_a,) float32 in [-1, 1] at 16 kHz."""

LOG_FLOOR = 1e-3
"""Mels are compared above -60 dB of full scale; below is recording noise, which lips cannot predict."""
SILENCE_RMS = 1e-4
"""A waveform with a lower RMS (-80 dB) counts as silent."""


def is_silent(wav: NDArray[Any]) -> bool:
    """Whether the RMS of (T_a,) is below -80 dB."""
    return len(wav) == 0 or float(np.sqrt(np.mean(np.square(wav, dtype=np.float64)))) < SILENCE_RMS


def check_wav(wav: Wav) -> NDArray[Any]:
    """The waveform as a (T_a,) float32 array. ValueError: wrong shape or dtype, NaN or infinite samples."""
    samples = wav.detach().cpu().numpy() if isinstance(wav, Tensor) else np.asarray(wav)
    if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating):
        raise ValueError(f"wav must be (T_a,) of floats in [-1, 1], got {samples.shape} of {samples.dtype}.")
    if not np.isfinite(samples).all():
        raise ValueError("wav has NaN or infinite samples; check the model that produced it.")
    return samples.astype(np.float32, copy=False)


def check_pair(reference: Wav, wav: Wav) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both waveforms as arrays. ValueError: different lengths, or as in `check_wav`."""
    a, b = check_wav(reference), check_wav(wav)
    if len(a) != len(b):
        raise ValueError(
            f"a pair must have equal lengths, got {len(a)} and {len(b)} samples; trim or pad one of them."
        )
    return a, b


def check_mels(reference_mel: NDArray[Any], mel: NDArray[Any]) -> None:
    """ValueError unless both are (80, T) of one length."""
    if reference_mel.shape != mel.shape or mel.ndim != 2:
        shapes = f"{reference_mel.shape} and {mel.shape}"
        raise ValueError(f"mels must be (80, T) of equal lengths, got {shapes}.")


def log_mel(wav: Wav) -> NDArray[Any]:
    """(T_a,) -> (80, T_a // 160): natural-log mel spectrogram at 100 Hz, clamped to log(LOG_FLOOR)."""
    samples = torch.from_numpy(np.array(check_wav(wav)))[None, None]
    with torch.inference_mode():
        mel: NDArray[Any] = _log_mel()(samples)[0].clamp(min=math.log(LOG_FLOOR)).numpy()
    return mel


@cache
def _log_mel() -> LogMel:
    return LogMel()
