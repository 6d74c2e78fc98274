"""Objective intelligibility and quality against a reference of equal length.

STOI (Taal et al. 2011), ESTOI (Jensen and Taal 2016), PESQ wide band (ITU-T P.862.2). Waveforms are (T_a,) at
16 kHz, neither trimmed nor aligned here. NaN: the metric is undefined for this pair.
"""

from __future__ import annotations

import math
import warnings

from lip2speech.constants import SAMPLE_RATE
from lip2speech.evaluation.metrics.common import Wav, check_pair, is_silent

MIN_PESQ = 0.999 + 4 / (1 + math.exp(1.3669 * 0.5 + 3.8224))
"""P.862.2 maps raw scores -0.5 .. 4.5 to 1.04 .. 4.64; silence in place of speech gets the lowest."""
_MIN_STOI_SAMPLES = SAMPLE_RATE * 384 // 1000
"""STOI compares segments of 384 ms of speech; it is undefined for shorter waveforms."""
_PYSTOI_TOO_SHORT = 1e-5
"""Returned by pystoi when less than one segment is left after silence removal."""


def stoi(reference: Wav, wav: Wav, *, extended: bool = False) -> float:
    """Intelligibility from about 0 to 1 (identical); extended: ESTOI, which scores noise lower."""
    from pystoi import stoi as pystoi

    a, b = check_pair(reference, wav)
    if len(a) < _MIN_STOI_SAMPLES or is_silent(a):
        return math.nan
    if is_silent(b):
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        value = float(pystoi(a, b, SAMPLE_RATE, extended=extended))
    return math.nan if value == _PYSTOI_TOO_SHORT else value


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
        return MIN_PESQ
    try:
        return float(pesq(SAMPLE_RATE, a, b, "wb"))
    except PesqError:  # no utterance detected: the standard needs 0.3 s of speech
        return math.nan
