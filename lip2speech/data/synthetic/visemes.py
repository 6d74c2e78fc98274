"""Phoneme times -> mouth movements, by dominance blending of viseme targets.

Every phoneme has a target and a weight for each mouth parameter; a parameter is the weighted mean of the
targets near it in time (Cohen and Massaro 1993, "Modeling coarticulation in synthetic visual speech"). Where
a consonant has a weight near 0, its neighbors dominate: /t/ between rounded vowels is rounded, /b/ is always
closed.

Independent of pixels: `render` turns the track into frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lip2speech.constants import VIDEO_FPS
from lip2speech.data.synthetic.espeak import Phoneme

PARAMETERS = (
    "opening",  # of the lips; below 0 they are pressed together
    "spread",  # mouth width: 1 widest (smile), -1 narrowest
    "rounding",  # protrusion
    "jaw",  # drop of the chin
    "tuck",  # lower lip under the upper teeth
    "tongue",  # tip raised behind the upper teeth
    "tip",  # tongue tip between the teeth
)
STEP_S = 0.005
SIGMA_S = 0.032  # temporal smoothing of the dominance
ROUNDING_SIGMA_S = 0.055  # rounding starts earlier than the other parameters
BURST_LEAD_S = 0.055  # a plosive's event is its burst; the visible closure comes before
EXPOSURE_S = 0.02
FRAME_S = 1 / VIDEO_FPS
PLOSIVES = frozenset({"p", "b", "t", "d", "k", "g", "tS", "dZ", "t#"})
PLOSIVE_TAIL_S = 0.012
DIPHTHONG_GLIDE = 0.5  # share of a diphthong's duration that has its first target

# viseme: (targets, weights), in the order of PARAMETERS
_LOOSE = (0.5, 0.3, 0.3, 0.4, 1.0, 1.0, 1.0)
_VOWEL = (1.0, 1.0, 1.0, 1.0, 0.6, 0.5, 0.6)
_LIPS = (9.0, 0.6, 0.25, 2.0, 1.0, 0.3, 1.0)
_DENTAL = (2.2, 0.5, 0.3, 1.8, 1.5, 2.5, 2.5)
VisemeTable = Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]]
TARGETS: VisemeTable = {
    "_": ((0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), (0.7, 0.5, 0.5, 0.7, 0.6, 0.6, 0.6)),
    "i": ((0.34, 0.85, 0.0, 0.18, 0.0, 0.25, 0.0), _VOWEL),
    "I": ((0.38, 0.45, 0.0, 0.28, 0.0, 0.15, 0.0), _VOWEL),
    "E": ((0.60, 0.40, 0.0, 0.52, 0.0, 0.05, 0.0), _VOWEL),
    "a": ((0.92, 0.30, 0.0, 0.92, 0.0, 0.0, 0.0), _VOWEL),
    "A": ((1.00, 0.00, 0.1, 1.00, 0.0, 0.0, 0.0), _VOWEL),
    "V": ((0.70, 0.10, 0.0, 0.65, 0.0, 0.0, 0.0), _VOWEL),
    "@": ((0.38, 0.05, 0.05, 0.35, 0.0, 0.1, 0.0), (0.6, 0.5, 0.5, 0.6, 0.6, 0.5, 0.6)),
    "o": ((0.58, -0.55, 0.65, 0.60, 0.0, 0.0, 0.0), _VOWEL),
    "U": ((0.30, -0.60, 0.70, 0.28, 0.0, 0.0, 0.0), _VOWEL),
    "u": ((0.20, -0.90, 1.00, 0.18, 0.0, 0.1, 0.0), _VOWEL),
    "w": ((0.12, -1.00, 1.00, 0.15, 0.0, 0.0, 0.0), (3.0, 3.0, 3.0, 1.0, 1.0, 0.5, 1.0)),
    "r": ((0.28, -0.45, 0.60, 0.22, 0.0, 0.1, 0.0), (1.6, 1.4, 1.4, 1.0, 1.0, 0.6, 1.0)),
    "j": ((0.30, 0.55, 0.05, 0.18, 0.0, 0.3, 0.0), (1.2, 1.0, 0.6, 1.2, 1.0, 0.8, 1.0)),
    "b": ((-0.28, 0.0, 0.05, 0.08, 0.0, 0.0, 0.0), _LIPS),
    "p": ((-0.36, 0.0, 0.05, 0.08, 0.0, 0.0, 0.0), _LIPS),
    "m": ((-0.22, 0.0, 0.05, 0.10, 0.0, 0.0, 0.0), _LIPS),
    "f": ((0.16, 0.15, 0.0, 0.10, 1.0, 0.0, 0.0), (6.0, 0.7, 0.5, 3.0, 7.0, 1.0, 1.0)),
    "v": ((0.15, 0.10, 0.0, 0.12, 0.9, 0.0, 0.0), (6.0, 0.7, 0.5, 3.0, 7.0, 1.0, 1.0)),
    "T": ((0.34, 0.15, 0.0, 0.22, 0.0, 0.6, 1.0), (4.0, 0.5, 0.5, 3.0, 2.0, 3.0, 6.0)),
    "D": ((0.30, 0.10, 0.0, 0.22, 0.0, 0.6, 0.85), (3.5, 0.5, 0.5, 3.0, 2.0, 3.0, 6.0)),
    "s": ((0.30, 0.45, 0.0, 0.06, 0.0, 0.2, 0.0), (3.0, 0.8, 0.5, 4.0, 1.5, 1.0, 2.0)),
    "z": ((0.30, 0.40, 0.0, 0.08, 0.0, 0.2, 0.0), (3.0, 0.8, 0.5, 4.0, 1.5, 1.0, 2.0)),
    "tS": ((0.36, -0.40, 0.75, 0.08, 0.0, 0.3, 0.0), (3.0, 2.0, 2.2, 3.5, 1.5, 1.0, 2.0)),
    "t": ((0.32, 0.20, 0.0, 0.14, 0.0, 0.9, 0.0), _DENTAL),
    "n": ((0.32, 0.15, 0.0, 0.20, 0.0, 0.9, 0.0), _DENTAL),
    "l": ((0.42, 0.10, 0.0, 0.32, 0.0, 1.0, 0.15), _DENTAL),
    "k": ((0.40, 0.10, 0.0, 0.30, 0.0, 0.0, 0.0), (0.7, 0.25, 0.25, 0.8, 1.0, 1.0, 1.0)),
    "h": ((0.40, 0.0, 0.0, 0.35, 0.0, 0.0, 0.0), _LOOSE),
}
VISEME_ALIASES = {
    "d": "t", "t#": "t", "dZ": "tS", "S": "tS", "Z": "tS", "g": "k", "N": "k", "a#": "@", "3": "r", "3r": "r",
    "O": "o", "0": "A", "i:": "i", "I2": "I", "A:": "A", "u:": "u", "I#": "I", "@L": "l", "?": "_",
}  # fmt: skip
DIPHTHONGS = {
    "aI": ("a", "I"), "aU": ("a", "U"), "eI": ("E", "I"), "oU": ("o", "U"), "OI": ("o", "I"),
    "i@": ("i", "@"), "o@": ("o", "r"), "A@": ("A", "r"), "e@": ("E", "r"), "U@": ("U", "r"),
}  # fmt: skip


def _viseme_spans(phoneme: Phoneme) -> list[tuple[str, float, float]]:
    """(viseme, start, end) of one phoneme: two for a diphthong, earlier for a plosive."""
    name = phoneme.name
    if name in DIPHTHONGS:
        middle = phoneme.start + DIPHTHONG_GLIDE * (phoneme.end - phoneme.start)
        first, second = DIPHTHONGS[name]
        return [(first, phoneme.start, middle), (second, middle, phoneme.end)]
    viseme = VISEME_ALIASES.get(name, name)
    if viseme not in TARGETS:
        raise ValueError(f"no viseme for the phoneme {name!r}; known: {', '.join(sorted(TARGETS))}.")
    if name in PLOSIVES:
        return [(viseme, phoneme.start - BURST_LEAD_S, _release(phoneme))]
    return [(viseme, phoneme.start, phoneme.end)]


def _release(phoneme: Phoneme) -> float:
    """When the mouth leaves a phoneme: a plosive ends with its burst, the rest of it is aspiration."""
    if phoneme.name in PLOSIVES and VISEME_ALIASES.get(phoneme.name, phoneme.name) != "tS":
        return min(phoneme.end, phoneme.start + PLOSIVE_TAIL_S)
    return phoneme.end


def _smooth_box(times: NDArray[Any], start: float, end: float, sigma: float) -> NDArray[Any]:
    """A box from start to end, convolved with a Gaussian: (N,) in 0..1."""
    from scipy.special import ndtr

    box: NDArray[Any] = ndtr((times - start) / sigma) - ndtr((times - end) / sigma)
    return box


def mouth_track(phonemes: Sequence[Phoneme], n_frames: int, table: VisemeTable = TARGETS) -> NDArray[Any]:
    """Mouth parameters per video frame, in the order of `PARAMETERS`: (n_frames, 7) float32.

    Args:
        phonemes: Phonemes with their times.
        n_frames: Number of video frames.
        table: Viseme targets and weights, those of voiced speech by default.
    """
    duration = n_frames * FRAME_S
    times = np.arange(0.0, duration, STEP_S) + STEP_S / 2
    first, last = (phonemes[0].start, phonemes[-1].end) if phonemes else (duration, duration)
    spans = [("_", -1.0, first), ("_", last, duration + 1.0)]
    released = first
    for phoneme in phonemes:
        spans += _viseme_spans(replace(phoneme, start=released) if phoneme.name not in PLOSIVES else phoneme)
        released = _release(phoneme)
    total = np.full((len(times), len(PARAMETERS)), 1e-6)
    value = np.zeros((len(times), len(PARAMETERS)))
    rounding = PARAMETERS.index("rounding")
    for viseme, start, end in spans:
        targets, weights = table[viseme]
        dominance = _smooth_box(times, start, end, SIGMA_S)[:, None] * np.asarray(weights)
        dominance[:, rounding] = _smooth_box(times, start, end, ROUNDING_SIGMA_S) * weights[rounding]
        total += dominance
        value += dominance * np.asarray(targets)
    return _expose(value / total, n_frames)


def _expose(fine: NDArray[Any], n_frames: int) -> NDArray[Any]:
    """Mean over the exposure of each frame: (N, P) every `STEP_S` -> (n_frames, P) float32."""
    per_frame, open_steps = round(FRAME_S / STEP_S), round(EXPOSURE_S / STEP_S)
    exposed = fine[: n_frames * per_frame].reshape(n_frames, per_frame, -1)[:, :open_steps]
    mean: NDArray[Any] = exposed.mean(1)
    return mean.astype(np.float32)
