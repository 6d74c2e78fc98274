"""Span masks of AV-HuBERT pre-training, and substitution of masked video frames.

Shi et al. 2022, section 3.2 ("masking by substitution") and appendix B: spans of equal length start at random
frames and may overlap; a masked span of video is replaced by another span of the same clip.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

MIN_SPANS = 2  # per clip, however short, as published


@dataclass(frozen=True)
class SpanMask:
    """Spans of `mask_length` frames, as many as would cover `mask_prob` of a clip without overlap.

    Because they may overlap, about 1 - exp(-mask_prob) of a long clip is masked; 0 masks nothing.
    """

    mask_prob: float = 0.3
    mask_length: int = 5

    def __post_init__(self) -> None:
        if not 0 <= self.mask_prob <= 1 or self.mask_length < 1:
            raise ValueError(
                f"mask_prob must be 0 .. 1 and mask_length 1 or more, got {self.mask_prob} and "
                f"{self.mask_length}."
            )


def sample_mask(frames: int, spans: SpanMask, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """A random mask (T,) bool, True = masked. The last frame is never masked, as published."""
    mask = np.zeros(frames, dtype=bool)
    length = min(spans.mask_length, frames - 1)
    if not spans.mask_prob or not length:
        return mask
    # rounded up with the probability of the remainder
    count = max(MIN_SPANS, int(spans.mask_prob * frames / spans.mask_length + rng.random()))
    starts = rng.choice(frames - length, min(count, frames - length), replace=False)
    mask[(starts[:, None] + np.arange(length)).ravel()] = True
    return mask


def masked_spans(mask: np.ndarray[Any, Any]) -> list[tuple[int, int]]:
    """First frame and end (exclusive) of each maximal masked span of (T,) bool."""
    edges = np.flatnonzero(np.diff(np.pad(mask.astype(np.int8), 1)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def substitute_frames(mask: np.ndarray[Any, Any], rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Index of the frame shown at each position: (T,) bool -> (T,) int.

    A masked span shows another span of the clip of the same length that does not overlap it. If there is
    none, the longer side of the span is repeated.
    """
    frames = len(mask)
    indices = np.arange(frames)
    for start, end in masked_spans(mask):
        length = end - start
        candidates = np.arange(frames - length + 1)
        candidates = candidates[(candidates + length <= start) | (candidates >= end)]
        if len(candidates):
            indices[start:end] = int(rng.choice(candidates)) + np.arange(length)
        else:
            side = np.arange(start) if start > frames - end else np.arange(end, frames)
            indices[start:end] = np.resize(side, length)
    return indices
