"""Distances from a reference in spectrum, F0, voicing, waveform and time.

L1 of log-mels; mel-cepstral distortion (Kubichek 1993, "Mel-cepstral distance measure for objective speech
quality assessment"), also under dynamic time warping (Sakoe and Chiba 1978); F0 and voicing by
`audio/pitch.py`; SI-SDR (Le Roux et al. 2019); temporal offsets by mel L1 and by envelope cross-correlation.
Log-mels are those of `common.log_mel`, (80, T) at 100 Hz. NaN: the metric is undefined for this pair.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from lip2speech.audio.mel import MelConfig
from lip2speech.audio.pitch import REFERENCE_HZ, pitch_contour
from lip2speech.evaluation.metrics.common import Wav, check_mels, check_pair, is_silent
from lip2speech.losses import si_sdr as batched_si_sdr

N_CEPSTRA = 13
"""c1 .. c13; c0 is the level and is left out."""
MCD_SCALE_DB = 10 * math.sqrt(2) / math.log(10)
"""Kubichek's K: converts the norm of a cepstral difference to the RMS spectral difference in dB."""
MAX_DTW_FRAMES = 6000
"""One minute: the memory of DTW is quadratic in the length."""
CENTS_PER_OCTAVE = 1200
MAX_SI_SDR_DB = 60.0
"""SI-SDR is clamped to +-60 dB: an identical pair, or silence, would make every mean infinite."""
MAX_MEL_OFFSET_MS = 200
MAX_ENVELOPE_OFFSET_MS = 400
MIN_CORRELATION = 0.3
"""Peak correlation of the envelopes below which the offset is undefined."""
FRAME_MS = round(1000 / MelConfig().frame_rate)


class F0Error(NamedTuple):
    """RMSE in cents over frames voiced in both, F1 of the voicing decision, median F0 of either in Hz."""

    rmse_cents: float
    voicing_f1: float
    reference_hz: float
    hz: float


def mel_l1(reference_mel: NDArray[Any], mel: NDArray[Any]) -> float:
    """Mean absolute difference of two log-mels (80, T) in nats; 0.115 is 1 dB."""
    check_mels(reference_mel, mel)
    return float(np.abs(reference_mel - mel).mean()) if reference_mel.size else math.nan


def mel_offset_ms(
    reference_mel: NDArray[Any], mel: NDArray[Any], *, max_ms: int = MAX_MEL_OFFSET_MS
) -> float:
    """Delay of `mel` (80, T): the shift within +-`max_ms` with the least L1 distance, in steps of 10 ms.

    Negative if it leads. Every shift is compared over the same span of the reference, so none gains by
    dropping loud frames. NaN if that span would be empty or the mel is constant.
    """
    check_mels(reference_mel, mel)
    max_shift = max_ms // FRAME_MS
    span = reference_mel[:, max_shift:-max_shift]
    if span.shape[1] < max_shift or np.ptp(mel) == 0:
        return math.nan
    distances = [
        float(np.abs(span - mel[:, max_shift + shift : max_shift + shift + span.shape[1]]).mean())
        for shift in range(-max_shift, max_shift + 1)
    ]
    # Ties go to the smallest shift.
    best = min(range(len(distances)), key=lambda i: (distances[i], abs(i - max_shift)))
    return float(FRAME_MS * (best - max_shift))


def envelope_offset_ms(
    reference_mel: NDArray[Any], mel: NDArray[Any], *, max_ms: int = MAX_ENVELOPE_OFFSET_MS
) -> float:
    """Delay of the envelope of `mel` (80, T) in steps of 10 ms; negative if it leads.

    The shift within +-`max_ms` with the highest correlation of the mean log-mels, over one span of the
    reference. If the reference is in sync with its video, this is the audio-visual offset. Unlike
    `mel_offset_ms` it is invariant to level and spectral color. NaN if nothing varies or nothing correlates.
    """
    if reference_mel.shape != mel.shape:
        raise ValueError(f"mels must have equal lengths, got {reference_mel.shape} and {mel.shape}.")
    max_shift, frames = max_ms // FRAME_MS, mel.shape[1]
    if frames < 3 * max_shift:
        return math.nan
    span = reference_mel.mean(0)[max_shift:-max_shift]
    shifted = sliding_window_view(mel.mean(0), frames - 2 * max_shift)  # (2 max_shift + 1, span)
    a, b = span - span.mean(), shifted - shifted.mean(1, keepdims=True)
    norms = np.linalg.norm(a) * np.linalg.norm(b, axis=1)
    correlation = np.where(norms > 1e-6, (b @ a) / norms.clip(min=1e-6), -1)
    best = int(correlation.argmax())
    return float(FRAME_MS * (best - max_shift)) if correlation[best] >= MIN_CORRELATION else math.nan


def mel_cepstrum(mel: NDArray[Any]) -> NDArray[Any]:
    """Log-mel (N, T) -> (13, T): c_m of log|S| = c_0 + sum of c_m cos(pi m (k + 1/2) / N) over bands k."""
    bands = len(mel)
    orders, k = np.arange(1, N_CEPSTRA + 1)[:, None], np.arange(bands)[None]
    basis = np.cos(np.pi * orders * (k + 0.5) / bands) * (2 / bands)
    return np.asarray(basis @ np.asarray(mel, dtype=np.float64))


def mcd(reference_mel: NDArray[Any], mel: NDArray[Any], *, dtw: bool = False) -> float:
    """Mel-cepstral distortion of two log-mels (80, T) in dB: the mean over frames of K |c - c'|.

    K = 10 sqrt(2) / ln 10; c1 .. c13 of 80 Slaney bands, 25 ms windows every 10 ms, above -60 dB, all frames.
    Other definitions (WORLD or SPTK, 24 cepstra, speech frames only) give other values: compare within one.

    Args:
        reference_mel: (80, T).
        mel: (80, T), or (80, U) with `dtw`.
        dtw: mean along the path of least total cost; the lengths may differ. NaN beyond one minute.
    """
    if len(reference_mel) != len(mel) or not (dtw or reference_mel.shape == mel.shape):
        shapes = f"{reference_mel.shape} and {mel.shape}"
        raise ValueError(f"mels must be (80, T), of equal lengths unless dtw is set, got {shapes}.")
    a, b = mel_cepstrum(reference_mel), mel_cepstrum(mel)
    if not a.shape[1] or not b.shape[1]:
        return math.nan
    if not dtw:
        return float(MCD_SCALE_DB * np.linalg.norm(a - b, axis=0).mean())
    if max(a.shape[1], b.shape[1]) > MAX_DTW_FRAMES:
        return math.nan
    squares = (a**2).sum(0)[:, None] + (b**2).sum(0)[None] - 2 * a.T @ b
    return MCD_SCALE_DB * dtw_mean_cost(np.sqrt(squares.clip(min=0)))


def dtw_mean_cost(costs: NDArray[Any]) -> float:
    """Mean cost along the path through (T, U) of least total cost; steps down, right or diagonal."""
    rows, columns = costs.shape
    # One antidiagonal at a time, indexed by row: its cells do not depend on each other.
    before, last = (np.full((2, rows + 1), np.inf) for _ in range(2))  # total cost, path length
    for d in range(rows + columns - 1):
        i = np.arange(max(0, d - columns + 1), min(rows, d + 1))
        if d == 0:
            best = np.zeros((2, 1))
        else:  # shifted by one row: index 0 is the border
            steps = np.stack(
                [before[:, i], last[:, i], last[:, i + 1]]
            )  # (3, 2, cells): diagonal, down, right
            best = np.take_along_axis(steps, steps[:, :1].argmin(0)[None], 0)[0]
        current = np.full((2, rows + 1), np.inf)
        current[0, i + 1], current[1, i + 1] = best[0] + costs[i, d - i], best[1] + 1
        before, last = last, current
    return float(last[0, rows] / last[1, rows])


def f0_error(reference: Wav, wav: Wav) -> F0Error:
    """F0 error where both (T_a,) are voiced, and agreement of their voicing."""
    contours = [pitch_contour(torch.from_numpy(x.copy())).numpy() for x in check_pair(reference, wav)]
    (a, a_voiced), (b, b_voiced) = ((pitch, voiced > 0) for pitch, voiced in contours)
    both, total = a_voiced & b_voiced, int(a_voiced.sum() + b_voiced.sum())
    return F0Error(
        CENTS_PER_OCTAVE * float(np.sqrt(np.mean((a - b)[both] ** 2))) if both.any() else math.nan,
        2 * int(both.sum()) / total if total else math.nan,
        *(_median_hz(pitch[voiced]) for pitch, voiced in ((a, a_voiced), (b, b_voiced))),
    )


def _median_hz(octaves: NDArray[Any]) -> float:
    return float(REFERENCE_HZ * 2 ** np.median(octaves)) if octaves.size else math.nan


def si_sdr(reference: Wav, wav: Wav) -> float:
    """Scale-invariant signal-to-distortion ratio in dB, clamped to +-60.

    A waveform metric: resynthesized speech has other phases and scores far below 0 dB however good it sounds.
    """
    a, b = (torch.from_numpy(x.astype(np.float64)) for x in check_pair(reference, wav))
    if is_silent(a.numpy()):
        return math.nan
    if not (b - b.mean()).any():
        return -MAX_SI_SDR_DB
    return float(batched_si_sdr(b[None, None], a[None, None]).clamp(-MAX_SI_SDR_DB, MAX_SI_SDR_DB))
