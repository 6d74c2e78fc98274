"""Video augmentation for training, on batches of uint8 mouth crops.

One random affine map per clip combines crop, scale, shift, rotation and flip, and resamples to the 88x88 of
the transform. Then brightness (contrast, offset, gamma, an illumination gradient), noise, blur, time masking
(as in auto_avsr, Ma et al. 2023) and random erasing.

All parameters are drawn per clip from torch's global generator, so that a resumed run is bit-identical.
docs/log/2026-12-torchvision.md has the comparison with torchvision's transforms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

CROP_SIZE = 88


@dataclass(frozen=True)
class AugmentConfig:
    """Ranges of the augmentations; 0 disables one.

    Args:
        shift: Maximum translation, pixels of the 96x96 crop.
        scale: Maximum log zoom.
        aspect: Maximum log ratio of width to height.
        rotation: Maximum angle, degrees.
        flip: Probability of a horizontal flip.
        contrast: Maximum log contrast factor.
        brightness: Maximum offset, in units of the full range.
        gamma: Maximum log exponent.
        illumination_gradient: Maximum relative change of brightness from the center to an edge.
        noise: Maximum standard deviation of the noise, in units of the full range.
        blur: Probability of a blur.
        random_erasing: Probability of an erased rectangle.
        time_mask: Maximum length of a time mask, frames.
        time_masks_per_second: Expected number of time masks.
        speed: Maximum log speed of half of the clips.
        vtlp: Maximum log factor of the vocal tract length perturbation of half of the clips.
    """

    shift: float = 5.0
    scale: float = 0.12
    aspect: float = 0.05
    rotation: float = 8.0
    flip: float = 0.5
    contrast: float = 0.4
    brightness: float = 0.25
    gamma: float = 0.35
    illumination_gradient: float = 0.3
    noise: float = 0.03
    blur: float = 0.3
    random_erasing: float = 0.3
    time_mask: int = 10
    time_masks_per_second: float = 0.6
    speed: float = 0.1
    vtlp: float = 0.0


def symmetric_uniform(count: int, limit: float) -> Tensor:
    """(count,), uniform in [-limit, limit)."""
    return (torch.rand(count) * 2 - 1) * limit


def jitter_brightness(roi: Tensor, c: AugmentConfig) -> Tensor:
    """Contrast, brightness and gamma by a lookup table of 256 values per clip.

    Shape: (B, T, H, W) uint8 -> (B, T, H, W) float in [0, 1]
    """
    batch = len(roi)
    levels = torch.arange(256)[None] / 255.0
    mean = roi[:, ::8, ::4, ::4].float().mean((1, 2, 3))[:, None] / 255.0
    table = (levels - mean) * torch.exp(symmetric_uniform(batch, c.contrast))[:, None] + mean
    table = (table + symmetric_uniform(batch, c.brightness)[:, None]).clamp(1e-4, 1)
    table = table ** torch.exp(symmetric_uniform(batch, c.gamma))[:, None]
    pairs = zip(table.numpy(), roi.numpy(), strict=True)
    return torch.from_numpy(np.stack([values.take(clip) for values, clip in pairs]))


def warp(x: Tensor, c: AugmentConfig, size: int = CROP_SIZE) -> Tensor:
    """One affine map per clip: (B, T, H, W) float -> (B, T, size, size)."""
    batch, _, height, _ = x.shape
    zoom_y = size / height * torch.exp(symmetric_uniform(batch, c.scale))
    zoom_x = zoom_y * torch.exp(symmetric_uniform(batch, c.aspect))
    flip = torch.where(torch.rand(batch) < c.flip, -1.0, 1.0)
    angle = symmetric_uniform(batch, math.radians(c.rotation))
    cos, sin = torch.cos(angle), torch.sin(angle)
    shift_x, shift_y = (symmetric_uniform(batch, 2 * c.shift / height) for _ in range(2))
    row_x = torch.stack([zoom_x * cos * flip, -zoom_y * sin, shift_x], 1)
    row_y = torch.stack([zoom_x * sin * flip, zoom_y * cos, shift_y], 1)
    grid = F.affine_grid(torch.stack([row_x, row_y], 1), [batch, 1, size, size], align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)  # frames are the channels


def corrupt(x: Tensor, c: AugmentConfig) -> Tensor:
    """Illumination gradient, blur, random erasing and noise per clip, in place: (B, T, H, W) in [0, 1]."""
    _, steps, height, width = x.shape
    noise = torch.randn((steps + 1) * height * width)  # shared by the clips, each from a random offset
    for clip in x:
        down = torch.linspace(-1, 1, height)[:, None] * symmetric_uniform(1, c.illumination_gradient)
        clip *= 1 + down + torch.linspace(-1, 1, width)[None] * symmetric_uniform(1, c.illumination_gradient)
        if torch.rand(()) < c.blur:
            clip.lerp_(F.avg_pool2d(clip.unsqueeze(1), 3, 1, 1)[:, 0], float(torch.rand(())) * 1.2)
        if torch.rand(()) < c.random_erasing:
            h, w = (int(v) for v in torch.randint(height // 8, height // 3, (2,)))
            top, left = int(torch.randint(height - h, ())), int(torch.randint(width - w, ()))
            clip[:, top : top + h, left : left + w] = torch.rand(())
        start = int(torch.randint(height * width, ()))
        clip.add_(noise[start : start + clip.numel()].view_as(clip), alpha=float(torch.rand(())) * c.noise)
    return x


def mask_time(x: Tensor, lengths: Tensor, c: AugmentConfig) -> Tensor:
    """Replace random segments of up to `time_mask` frames by the clip's mean frame, in place."""
    for i, length in enumerate(lengths.tolist()):
        for _ in range(int(torch.poisson(torch.tensor(length / 25 * c.time_masks_per_second)))):
            n = int(torch.randint(1, c.time_mask + 1, ()))
            start = int(torch.randint(max(1, length - n), ()))
            x[i, start : start + n] = x[i, :length].mean(0)
    return x


def augment(roi: Tensor, lengths: Tensor, config: AugmentConfig, *, mean: float, std: float) -> Tensor:
    """Augmented, normalized video: roi (B, T, 96, 96) uint8 -> (B, 1, T, 88, 88) float32.

    Args:
        roi: Mouth crops, padded to T frames.
        lengths: Number of frames of each clip, (B,).
        config: Ranges of the augmentations.
        mean: Mean of the normalization.
        std: Standard deviation of the normalization.
    """
    x = corrupt(warp(jitter_brightness(roi, config), config), config)
    if config.time_mask:
        x = mask_time(x, lengths, config)
    return x.sub_(mean).div_(std).unsqueeze(1)


def resample_linear(x: Tensor, steps: int) -> Tensor:
    """(..., T) -> (..., steps) by linear interpolation: speed perturbation of mel and pitch."""
    if x.shape[-1] == steps:
        return x
    return F.interpolate(x.reshape(1, -1, x.shape[-1]).float(), steps, mode="linear").reshape(
        *x.shape[:-1], steps
    )


def resample_nearest(x: Tensor, steps: int) -> Tensor:
    """(..., T) -> (..., steps) by nearest neighbor (tokens and frames), aligned with `resample_linear`."""
    index = ((torch.arange(steps) + 0.5) * (x.shape[-1] / steps)).long().clamp_max(x.shape[-1] - 1)
    return x[..., index]
