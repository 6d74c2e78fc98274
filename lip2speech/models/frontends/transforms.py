"""Input transform of the front end: stored mouth crops (uint8) to normalized float32 video.

As AV-HuBERT: the center 88 x 88 of the 96 x 96 crop (in training a random 88 x 88 and a random flip), scaled
to 0..1, then (x - 0.421) / 0.165. The numbers are part of a checkpoint's config.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

FLIP_PROBABILITY = 0.5
MAX_CROP = 96
"""Rows and columns of a mouth crop."""
MIN_STD, MAX_STD = 1e-3, 10.0

UInt8Array = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Transform:
    """Crops and normalizes mouth crops.

    Args:
        mean: of pixels on the scale 0..1.
        std: of pixels on the scale 0..1.
        crop: rows and columns kept.

    Shape:
        call, random: roi (T, H, W) or (B, T, H, W) uint8 -> (B, 1, T, crop, crop) float32, B = 1 for one clip
    """

    mean: float = 0.421
    std: float = 0.165
    crop: int = 88

    def __post_init__(self) -> None:
        valid = 0 <= self.mean <= 1 and MIN_STD <= self.std <= MAX_STD
        if not valid or not 1 <= self.crop <= MAX_CROP:
            raise ValueError(
                f"mean must be 0 to 1, std {MIN_STD:g} to {MAX_STD:g}, crop 1 to {MAX_CROP}; "
                f"got mean {self.mean:g}, std {self.std:g}, crop {self.crop}."
            )

    def __call__(self, roi: Tensor | UInt8Array) -> Tensor:
        """Center crop: (T, H, W) or (B, T, H, W) uint8 -> (B, 1, T, crop, crop) float32."""
        clips = self._check(roi)
        top, left = (round((size - self.crop) / 2) for size in clips.shape[-2:])
        return self._normalize(clips[..., top : top + self.crop, left : left + self.crop])

    def random(self, roi: Tensor | UInt8Array, generator: torch.Generator | None = None) -> Tensor:
        """For training: a random crop and a random flip of each clip; shapes as above."""
        clips = self._check(roi)
        rows, columns = (size - self.crop + 1 for size in clips.shape[-2:])
        crops = []
        for clip in clips:
            top = int(torch.randint(rows, (), generator=generator))
            left = int(torch.randint(columns, (), generator=generator))
            patch = clip[:, top : top + self.crop, left : left + self.crop]
            flip = float(torch.rand((), generator=generator)) < FLIP_PROBABILITY
            crops.append(patch.flip(-1) if flip else patch)
        return self._normalize(torch.stack(crops))

    def _check(self, roi: Tensor | UInt8Array) -> Tensor:
        """(T, H, W) or (B, T, H, W) uint8 -> (B, T, H, W) uint8."""
        clips = torch.as_tensor(roi)
        if clips.dtype != torch.uint8 or clips.dim() not in (3, 4):
            shape = tuple(clips.shape)
            raise ValueError(f"roi must be uint8 (T, H, W) or (B, T, H, W), got {clips.dtype} {shape}.")
        if min(clips.shape[-2:]) < self.crop:
            size = tuple(clips.shape[-2:])
            raise ValueError(
                f"roi must be at least {self.crop} x {self.crop} pixels, got {size}; "
                "crop_mouths gives 96 x 96."
            )
        return clips if clips.dim() == 4 else clips[None]

    def _normalize(self, clips: Tensor) -> Tensor:
        """(B, T, crop, crop) uint8 -> (B, 1, T, crop, crop) float32."""
        return (clips.to(torch.float32) / 255.0).sub_(self.mean).div_(self.std)[:, None]
