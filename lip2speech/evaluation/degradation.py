"""Image degradations of mouth crops, to which a confidence must respond.

    low_resolution  a small face: the crop was upsampled (bilinear, as in the crop stage)
    blur            out of focus, or motion blur
    low_light       underexposed, with sensor noise
    noise           as low_light, with the gain turned up by the camera
    low_contrast    haze or backlight

Each has a factor: of the distance, or by which light or contrast is reduced. 1 leaves the crops as they are;
at 12 hardly anything is visible. The position of face and mouth is not affected.
"""

from __future__ import annotations

import zlib
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lip2speech.modules.gaussian_blur import gaussian_blur

Degradation = Literal["low_resolution", "blur", "low_light", "noise", "low_contrast"]
DEGRADATIONS: tuple[Degradation, ...] = get_args(Degradation)
FACTOR_RANGE = (1.5, 12.0)
"""From barely noticeable to almost nothing visible."""
SENSOR_NOISE_STD = 4.0
"""Of 255 levels: a small camera at full gain."""


def degrade(roi: NDArray[Any], kind: Degradation, factor: float, seed: int = 0) -> NDArray[Any]:
    """Degrade crops.

    Args:
        roi: (T, H, W) uint8; not modified.
        kind: of the degradation.
        factor: 1 or more.
        seed: of the noise.
    Returns:
        (T, H, W) uint8.
    Raises:
        ValueError: unknown kind, or a factor below 1.
    """
    x = torch.from_numpy(roi).float()
    if factor < 1 or kind not in DEGRADATIONS:
        kinds = ", ".join(DEGRADATIONS)
        raise ValueError(f"kind must be one of {kinds}, factor 1 or more, got {kind!r} and {factor}.")
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)) * SENSOR_NOISE_STD
    match kind:
        case "low_resolution":
            x = reduce_resolution(x, factor)
        case "blur":
            x = gaussian_blur(x, factor / 2)
        case "low_light":
            x = x / factor + noise
        case "noise":
            x = x + noise * factor
        case "low_contrast":
            mean = x.mean((1, 2), keepdim=True)
            x = mean + (x - mean) / factor
    return x.round().clamp(0, 255).to(torch.uint8).numpy()


def degrade_clip(roi: NDArray[Any], id: str) -> NDArray[Any]:
    """(T, H, W) uint8 -> degraded crops; the clip's id determines the kind, the factor and the noise."""
    seed = zlib.crc32(id.encode())
    rng = np.random.default_rng(seed)
    kind = DEGRADATIONS[rng.integers(len(DEGRADATIONS))]
    return degrade(roi, kind, float(rng.uniform(*FACTOR_RANGE)), seed)


def reduce_resolution(x: Tensor, factor: float) -> Tensor:
    """(T, H, W) -> downsampled by `factor` and upsampled to the same size."""
    small = [max(1, round(size / factor)) for size in x.shape[1:]]
    down = F.interpolate(x[:, None], small, mode="area")
    return F.interpolate(down, x.shape[1:], mode="bilinear", align_corners=False)[:, 0]
