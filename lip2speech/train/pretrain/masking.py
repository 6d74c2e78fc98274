"""Which frames are hidden while AV-HuBERT is pretrained, and which other frames stand there instead.

Shi et al. 2022, section 3.2 ("masking by substitution") and appendix B: spans of equal length begin at random
frames and may overlap; a hidden stretch of pictures is replaced by another stretch of the same clip. Knows
frame numbers only, neither pictures nor sound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEAST_SPANS = 2  # of a clip, however short, as published


@dataclass(frozen=True)
class SpanMask:
    """Spans of `length` frames, as many as would cover `share` of a clip side by side.

    They may overlap, so that about 1 - exp(-share) of a long clip is masked; share 0 masks nothing.
    """

    mask_prob: float = 0.3
    mask_length: int = 5

    def __post_init__(self) -> None:
        if not 0 <= self.mask_prob <= 1 or self.mask_length < 1:
            raise ValueError(
                f"a mask's share must be 0 .. 1 and its length 1 or more, got {self.mask_prob} and {self.mask_length}."
            )


def draw_mask(frames: int, spans: SpanMask, rng: np.random.Generator) -> np.ndarray:
    """Which frames of a clip are hidden: (T,) bool. The last frame never is, as published, so one is seen."""
    mask = np.zeros(frames, dtype=bool)
    length = min(spans.mask_length, frames - 1)
    if not spans.mask_prob or not length:
        return mask
    # The random number rounds up as often as the rest of the division says.
    count = max(LEAST_SPANS, int(spans.mask_prob * frames / spans.mask_length + rng.random()))
    starts = rng.choice(frames - length, min(count, frames - length), replace=False)
    mask[(starts[:, None] + np.arange(length)).ravel()] = True
    return mask


def stretches(mask: np.ndarray) -> list[tuple[int, int]]:
    """First frame of each masked stretch and the one past its end, from (T,) bool."""
    edges = np.flatnonzero(np.diff(np.pad(mask.astype(np.int8), 1)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def substitutes(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Which frame of the clip stands at each place: (T,) bool -> (T,) int.

    A masked stretch shows another one of the clip, as long and anywhere beside it. Where none is as long,
    the longer side of it is shown again and again.
    """
    frames = len(mask)
    shown = np.arange(frames)
    for start, end in stretches(mask):
        length = end - start
        first = np.arange(frames - length + 1)
        first = first[(first + length <= start) | (first >= end)]
        if len(first):
            shown[start:end] = int(rng.choice(first)) + np.arange(length)
        else:
            side = np.arange(start) if start > frames - end else np.arange(end, frames)
            shown[start:end] = np.resize(side, length)
    return shown
