"""Objective measures of one sound against its reference, and intervals over many.

STOI (Taal et al. 2011), ESTOI (Jensen and Taal 2016), PESQ wide band (ITU-T P.862.2), distance and lag of
log-mels, word errors. Sounds are (T_a,) at 16 kHz, and both of a pair are equally long: nothing is trimmed
or aligned here. NaN means that a measure has no answer for this pair. Knows no model and no recogniser.
"""

from __future__ import annotations

import math
import warnings
from functools import cache

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from lip2speech.audio.mel import LogMel
from lip2speech.constants import SAMPLE_RATE

Wav = Tensor | np.ndarray

LOG_FLOOR = 1e-3
"""Mels are compared above -60 dB of full scale: below lies the recording's noise, which no lip shows."""
SILENCE = 1e-4
"""A sound whose root mean square is lower (-80 dB) is silent."""
WORST_PESQ = 0.999 + 4 / (1 + math.exp(1.3669 * 0.5 + 3.8224))
"""P.862.2 maps the raw scores -0.5 .. 4.5 to 1.04 .. 4.64; silence for speech gets the lowest."""
DRAWS = 1000
"""Of utterances, for an interval."""
_STOI_SAMPLES = SAMPLE_RATE * 384 // 1000
"""STOI compares stretches of 384 ms of speech; shorter sounds have none."""
_STOI_TOO_SHORT = 1e-5
"""What pystoi gives where less than that is left after the pauses are taken out."""


def stoi(reference: Wav, wav: Wav, *, extended: bool = False) -> float:
    """Intelligibility, about 0 (none) to 1 (identical); extended: ESTOI, with a lower floor for noise."""
    from pystoi import stoi as measure

    a, b = check_pair(reference, wav)
    if len(a) < _STOI_SAMPLES or is_silent(a):
        return math.nan
    if is_silent(b):
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        value = float(measure(a, b, SAMPLE_RATE, extended=extended))
    return math.nan if value == _STOI_TOO_SHORT else value


def estoi(reference: Wav, wav: Wav) -> float:
    """`stoi` with extended=True."""
    return stoi(reference, wav, extended=True)


def pesq_wb(reference: Wav, wav: Wav) -> float:
    """Quality on the MOS scale, 1.04 to 4.64 (identical)."""
    from pesq import PesqError, pesq

    a, b = check_pair(reference, wav)
    if is_silent(a):
        return math.nan
    if is_silent(b):
        return WORST_PESQ
    try:
        return float(pesq(SAMPLE_RATE, a, b, "wb"))
    except PesqError:  # no utterance found: the standard needs 0.3 s of speech
        return math.nan


def log_mel(wav: Wav) -> np.ndarray:
    """(T_a,) -> (80, T_a // 160), natural log at 100 Hz, never below log(LOG_FLOOR)."""
    samples = torch.from_numpy(np.array(check_wav(wav)))[None, None]
    with torch.inference_mode():
        return _log_mel()(samples)[0].clamp(min=math.log(LOG_FLOOR)).numpy()


@cache
def _log_mel() -> LogMel:
    return LogMel()


def mel_l1(reference_mel: np.ndarray, mel: np.ndarray) -> float:
    """Mean absolute distance of two log-mels (80, T), in nats; 0.115 is 1 dB."""
    _check_mels(reference_mel, mel)
    return float(np.abs(reference_mel - mel).mean()) if reference_mel.size else math.nan


def best_lag_ms(reference_mel: np.ndarray, mel: np.ndarray, *, reach_ms: int = 200) -> float:
    """By how much `mel` (80, T) is late: the shift within +-`reach_ms` at which its L1 distance is least.

    Steps are 10 ms; a sound that comes too early has a negative lag. Over the same stretch of the reference
    for every shift, so that no shift gains by dropping loud frames. NaN where the stretch would be empty or
    nothing moves.
    """
    _check_mels(reference_mel, mel)
    reach = reach_ms // 10
    middle = reference_mel[:, reach:-reach]
    if middle.shape[1] < reach or np.ptp(mel) == 0:
        return math.nan
    distances = [
        float(np.abs(middle - mel[:, reach + lag : reach + lag + middle.shape[1]]).mean())
        for lag in range(-reach, reach + 1)
    ]
    # Of equal distances the smallest shift.
    best = min(range(len(distances)), key=lambda i: (distances[i], abs(i - reach)))
    return 10.0 * (best - reach)


def edit_errors(text: str, transcript: str) -> int:
    """Words to substitute, delete and insert to make `transcript` from `text`."""
    from jiwer import process_words

    words, heard = text.lower().split(), transcript.lower().split()
    if not words or not heard:
        return len(words) + len(heard)
    out = process_words(" ".join(words), " ".join(heard))
    return out.substitutions + out.deletions + out.insertions


def slot_errors(text: str, transcript: str) -> list[bool]:
    """For each place of `text`, whether `transcript` has another word or none there."""
    words, heard = text.lower().split(), transcript.lower().split()
    return [i >= len(heard) or heard[i] != word for i, word in enumerate(words)]


def bootstrap(
    values: ArrayLike, weights: ArrayLike | None = None, *, median: bool = False, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of sum(values) / sum(weights), of the mean or the median, when utterances are drawn anew.

    Args:
        values: one per utterance: its errors, or its score; NaN and its weight are left out.
        weights: one per utterance: its words.
    """
    x = np.asarray(values, dtype=np.float64)
    w = np.ones_like(x) if weights is None else np.asarray(weights, dtype=np.float64)
    kept = np.isfinite(x) & (w > 0)
    x, w = x[kept], w[kept]
    return interval(statistic(x, w, draw(len(x), seed), median=median))


def draw(n: int, seed: int = 0) -> np.ndarray:
    """Places of `n` utterances drawn anew, with repeats: (DRAWS, n)."""
    return np.random.default_rng(seed).integers(0, max(1, n), size=(DRAWS, n))


def statistic(x: np.ndarray, w: np.ndarray, drawn: np.ndarray, *, median: bool = False) -> np.ndarray:
    """sum(x) / sum(w), or the median of x, of each row of places (draws, n): (draws,); NaN for no places."""
    if not drawn.shape[1]:
        return np.full(len(drawn), np.nan)
    return np.median(x[drawn], axis=1) if median else x[drawn].sum(1) / w[drawn].sum(1)


def interval(drawn: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of (draws,)."""
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def is_silent(wav: np.ndarray) -> bool:
    """Whether the root mean square of (T_a,) is below -80 dB."""
    return len(wav) == 0 or float(np.sqrt(np.mean(np.square(wav, dtype=np.float64)))) < SILENCE


def check_wav(wav: Wav) -> np.ndarray:
    """(T_a,) float32 array of finite samples, or ValueError."""
    samples = wav.detach().cpu().numpy() if isinstance(wav, Tensor) else np.asarray(wav)
    if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating):
        raise ValueError(f"wav must be (T_a,) of floats in [-1, 1], got {samples.shape} of {samples.dtype}.")
    if not np.isfinite(samples).all():
        raise ValueError("wav holds samples that are not numbers; look at the model that made it.")
    return samples.astype(np.float32, copy=False)


def check_pair(reference: Wav, wav: Wav) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays, or ValueError where they are not equally long."""
    a, b = check_wav(reference), check_wav(wav)
    if len(a) != len(b):
        raise ValueError(
            f"a pair must be equally long, got {len(a)} and {len(b)} samples; fit one to the other."
        )
    return a, b


def _check_mels(reference_mel: np.ndarray, mel: np.ndarray) -> None:
    if reference_mel.shape != mel.shape or mel.ndim != 2:
        raise ValueError(f"mels must be (80, T) and equally long, got {reference_mel.shape} and {mel.shape}.")
