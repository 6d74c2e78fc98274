"""Mouth crops as a worse picture would have given them: what a confidence must know about, and a test of it.

    far      the face is small, and its crop was enlarged (linear, as the crop stage does)
    blurred  out of focus, or moved while the shutter was open
    dark     little light, and the sensor's noise
    noisy    as dark, brightened again by the camera
    pale     little contrast: haze, or light from behind

Each by a factor: seen from so many times as far, with so much less light or contrast; 1 is the picture as it
is, at 12 next to nothing is left. Knows crops only; the places of face and mouth stay as they were found.
"""

from __future__ import annotations

import math
import zlib
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Kind = Literal["far", "blurred", "dark", "noisy", "pale"]
KINDS: tuple[Kind, ...] = get_args(Kind)
FACTORS = (1.5, 12.0)
"""From hardly to be seen to hardly anything to be seen."""
SENSOR_NOISE = 4.0
"""Of 255 levels: a small camera's at full amplification."""


def worsen(roi: np.ndarray, kind: Kind, factor: float, seed: int = 0) -> np.ndarray:
    """(T, H, W) uint8 -> the same crops, worse by `factor`."""
    x = torch.from_numpy(roi).float()
    if factor < 1 or kind not in KINDS:
        kinds = ", ".join(KINDS)
        raise ValueError(f"kind must be one of {kinds}, factor 1 or more, got {kind!r} and {factor}.")
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)) * SENSOR_NOISE
    match kind:
        case "far":
            x = enlarged(x, factor)
        case "blurred":
            x = blurred(x, factor / 2)
        case "dark":
            x = x / factor + noise
        case "noisy":
            x = x + noise * factor
        case "pale":
            mean = x.mean((1, 2), keepdim=True)
            x = mean + (x - mean) / factor
    return x.round().clamp(0, 255).to(torch.uint8).numpy()


def worsen_clip(roi: np.ndarray, id: str) -> np.ndarray:
    """(T, H, W) uint8 -> the same crops, worse in one way and by one factor, which the clip's id decides."""
    seed = zlib.crc32(id.encode())
    chance = np.random.default_rng(seed)
    kind = KINDS[chance.integers(len(KINDS))]
    return worsen(roi, kind, float(chance.uniform(*FACTORS)), seed)


def enlarged(x: Tensor, factor: float) -> Tensor:
    """(T, H, W) -> the same size, of the pixels that a face `factor` times as far away fills."""
    small = [max(1, round(size / factor)) for size in x.shape[1:]]
    seen = F.interpolate(x[:, None], small, mode="area")
    return F.interpolate(seen, x.shape[1:], mode="bilinear", align_corners=False)[:, 0]


def blurred(x: Tensor, sigma: float) -> Tensor:
    """(T, H, W) under a Gaussian of `sigma` pixels."""
    reach = math.ceil(3 * sigma)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1.0) / sigma) ** 2)
    weights = weights / weights.sum()
    wide = F.pad(x[:, None], (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(wide, weights[None, None, None]), weights[None, None, :, None])[:, 0]
