"""How far a sound lies from its reference in colour, melody, voicing, waveform and time.

Mel-cepstral distance (Kubichek 1993, "Mel-cepstral distance measure for objective speech quality
assessment"), also under dynamic time warping (Sakoe and Chiba 1978); pitch and voicing by `pitch.py`; SI-SDR
(Le Roux et al. 2019); offset by cross-correlation of envelopes. Log-mels are those of `metrics.log_mel`,
(80, T) at 100 Hz. NaN: a measure has no answer for this pair. Knows no model, no words, no speaker.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from lip2speech.audio.mel import MelConfig
from lip2speech.audio.pitch import REFERENCE, pitch_contour
from lip2speech.evaluation.metrics.intelligibility import Wav, check_pair, is_silent

CEPSTRA = 13
"""c1 .. c13; c0 is the level, which is no matter of colour."""
DECIBELS = 10 * math.sqrt(2) / math.log(10)
"""Kubichek's K: from the norm of cepstra to the root mean square of a spectrum's difference in dB."""
WARP_FRAMES = 6000
"""A minute: warping takes memory with the square of the length."""
CENTS = 1200  # an octave
MOST_DB = 60.0
"""SI-SDR is kept within +-60 dB: an identical pair, or silence, would make every mean infinite."""
REACH_MS = 400
LEAST_CORRELATION = 0.3
"""Envelopes less alike than this at their best have no offset: the sound does not follow its reference."""
FRAME_MS = round(1000 / MelConfig().frame_rate)


class PitchError(NamedTuple):
    """Root mean square in cents and F1 of voicing; the median F0 of both in Hz."""

    cents: float
    voicing_f1: float
    reference_hz: float
    hz: float


def mel_cepstrum(mel: np.ndarray) -> np.ndarray:
    """Log-mel (N, T) -> (13, T): c_m of log|S| = c_0 + sum of c_m cos(pi m (k + 1/2) / N) over bands k."""
    bands = len(mel)
    orders, k = np.arange(1, CEPSTRA + 1)[:, None], np.arange(bands)[None]
    basis = np.cos(np.pi * orders * (k + 0.5) / bands) * (2 / bands)
    return basis @ np.asarray(mel, dtype=np.float64)


def mcd(reference_mel: np.ndarray, mel: np.ndarray, *, warp: bool = False) -> float:
    """Mel-cepstral distance of two log-mels (80, T) in dB: the mean over frames of K |c - c'|.

    K = 10 sqrt(2) / ln 10; c1 .. c13 of 80 Slaney bands, 25 ms windows every 10 ms, above -60 dB, all frames.
    Other recipes (WORLD or SPTK, 24 cepstra, speech frames alone) give other numbers: compare within one.

    Args:
        warp: along the path of dynamic time warping with the least sum, divided by its length; then the mels
            may differ in length. NaN beyond a minute.
    """
    if len(reference_mel) != len(mel) or not (warp or reference_mel.shape == mel.shape):
        shapes = f"{reference_mel.shape} and {mel.shape}"
        raise ValueError(f"mels must be (80, T), and equally long unless warped, got {shapes}.")
    a, b = mel_cepstrum(reference_mel), mel_cepstrum(mel)
    if not a.shape[1] or not b.shape[1]:
        return math.nan
    if not warp:
        return float(DECIBELS * np.linalg.norm(a - b, axis=0).mean())
    if max(a.shape[1], b.shape[1]) > WARP_FRAMES:
        return math.nan
    squares = (a**2).sum(0)[:, None] + (b**2).sum(0)[None] - 2 * a.T @ b
    return DECIBELS * warped_mean(np.sqrt(squares.clip(min=0)))


def warped_mean(costs: np.ndarray) -> float:
    """Mean cost on the path through (T, U) with the least sum, by steps down, right or both at once."""
    rows, columns = costs.shape
    # One diagonal after the other, by row: cells of a diagonal do not depend on each other.
    before, last = (np.full((2, rows + 1), np.inf) for _ in range(2))  # sum so far, cells so far
    for d in range(rows + columns - 1):
        i = np.arange(max(0, d - columns + 1), min(rows, d + 1))
        if d == 0:
            best = np.zeros((2, 1))
        else:  # shifted by one row: place 0 is the edge
            steps = np.stack([before[:, i], last[:, i], last[:, i + 1]])  # (3, 2, cells): both, down, right
            best = np.take_along_axis(steps, steps[:, :1].argmin(0)[None], 0)[0]
        now = np.full((2, rows + 1), np.inf)
        now[0, i + 1], now[1, i + 1] = best[0] + costs[i, d - i], best[1] + 1
        before, last = last, now
    return float(last[0, rows] / last[1, rows])


def pitch_error(reference: Wav, wav: Wav) -> PitchError:
    """How far the melody is off where both are voiced, and how well voiced frames agree; two of (T_a,)."""
    contours = [pitch_contour(torch.from_numpy(x.copy())).numpy() for x in check_pair(reference, wav)]
    (a, a_voiced), (b, b_voiced) = ((pitch, voiced > 0) for pitch, voiced in contours)
    both, either = a_voiced & b_voiced, int(a_voiced.sum() + b_voiced.sum())
    return PitchError(
        CENTS * float(np.sqrt(np.mean((a - b)[both] ** 2))) if both.any() else math.nan,
        2 * int(both.sum()) / either if either else math.nan,
        *(_median_hz(pitch[voiced]) for pitch, voiced in ((a, a_voiced), (b, b_voiced))),
    )


def _median_hz(octaves: np.ndarray) -> float:
    return float(REFERENCE * 2 ** np.median(octaves)) if octaves.size else math.nan


def si_sdr(reference: Wav, wav: Wav) -> float:
    """Scale-invariant signal to distortion ratio in dB, within +-60.

    Of the very waveform: speech that is made anew has other phases and is far below 0 however good it sounds.
    """
    a, b = (np.asarray(x, dtype=np.float64) for x in check_pair(reference, wav))
    if is_silent(a):
        return math.nan
    a, b = a - a.mean(), b - b.mean()
    target = a * (a @ b) / (a @ a)
    signal, distortion = target @ target, (b - target) @ (b - target)
    least = 10 ** (-MOST_DB / 10) * max(signal, distortion, np.finfo(float).tiny)
    return float(10 * np.log10(max(signal, least) / max(distortion, least))) if b.any() else -MOST_DB


def offset_ms(reference_mel: np.ndarray, mel: np.ndarray, *, reach_ms: int = REACH_MS) -> float:
    """By how much the envelope of `mel` (80, T) comes late, in steps of 10 ms; too early is negative.

    The lag within +-`reach_ms` at which the mean log-mels correlate best, over the same stretch of the
    reference for each. With the reference in time with its picture this is the offset of sound and picture.
    Unlike `best_lag_ms` it does not care for level and colour. NaN where nothing moves or nothing fits.
    """
    if reference_mel.shape != mel.shape:
        raise ValueError(f"mels must be equally long, got {reference_mel.shape} and {mel.shape}.")
    reach, frames = reach_ms // FRAME_MS, mel.shape[1]
    if frames < 3 * reach:
        return math.nan
    middle = reference_mel.mean(0)[reach:-reach]
    stretches = sliding_window_view(mel.mean(0), frames - 2 * reach)  # (2 reach + 1, frames - 2 reach)
    a, b = middle - middle.mean(), stretches - stretches.mean(1, keepdims=True)
    norms = np.linalg.norm(a) * np.linalg.norm(b, axis=1)
    correlation = np.where(norms > 1e-6, (b @ a) / norms.clip(min=1e-6), -1)
    best = int(correlation.argmax())
    return float(FRAME_MS * (best - reach)) if correlation[best] >= LEAST_CORRELATION else math.nan
