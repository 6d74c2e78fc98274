"""Video augmentation for training, on whole batches of uint8 crops.

One random affine map per clip does crop, scale, shift, rotation and flip; the transform's 88x88 comes out of the same
interpolation. Then light (gain, offset, gamma, a shading gradient), noise, blur, time masking (auto_avsr's recipe, Ma
et al. 2023) and rectangular erasing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class AugmentConfig:
    """Ranges; 0 switches one off. Pixels are of the 96x96 crop, chances are per clip."""

    shift: float = 5.0
    scale: float = 0.12
    stretch: float = 0.05
    rotation: float = 8.0
    flip: float = 0.5
    jitter: float = 0.6
    contrast: float = 0.4
    brightness: float = 0.25
    gamma: float = 0.35
    shading: float = 0.3
    noise: float = 0.03
    blur: float = 0.3
    erase: float = 0.3
    time_mask: int = 10
    time_masks_per_second: float = 0.6
    speed: float = 0.1


def uniform(count: int, reach: float) -> Tensor:
    """(count,) in [-reach, reach]."""
    return (torch.rand(count) * 2 - 1) * reach


def warp(roi: Tensor, c: AugmentConfig, size: int = 88) -> Tensor:
    """roi (B, T, H, W) float -> (B, T, size, size): one affine map per clip, plus a small shake per frame."""
    batch, steps, height, _ = roi.shape
    zoom = size / height * torch.exp(uniform(batch, c.scale))
    wide = zoom * torch.exp(uniform(batch, c.stretch))
    mirror = torch.where(torch.rand(batch) < c.flip, -1.0, 1.0)
    angle = uniform(batch, math.radians(c.rotation))
    cos, sin = torch.cos(angle), torch.sin(angle)
    shift_x, shift_y = (uniform(batch, 2 * c.shift / height) for _ in range(2))
    row_x = torch.stack([wide * cos * mirror, -zoom * sin, shift_x], 1)
    row_y = torch.stack([wide * sin * mirror, zoom * cos, shift_y], 1)
    theta = torch.stack([row_x, row_y], 1).repeat_interleave(steps, 0)
    theta[:, :, 2] += torch.randn(batch * steps, 2) * (c.jitter / height)
    grid = F.affine_grid(theta, [batch * steps, 1, size, size], align_corners=False)
    flat = roi.reshape(batch * steps, 1, height, -1)
    return F.grid_sample(flat, grid, padding_mode="border", align_corners=False).reshape(batch, steps, size, size)


def light(x: Tensor, c: AugmentConfig) -> Tensor:
    """Change contrast, brightness, gamma and add a linear shading. x (B, T, H, W) in [0, 1]."""
    batch, _, height, width = x.shape
    shape = (batch, 1, 1, 1)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * torch.exp(uniform(batch, c.contrast)).reshape(shape) + mean
    x = x + uniform(batch, c.brightness).reshape(shape)
    down = torch.linspace(-1, 1, height)[:, None] * uniform(batch, c.shading).reshape(batch, 1, 1)
    across = torch.linspace(-1, 1, width)[None] * uniform(batch, c.shading).reshape(batch, 1, 1)
    x = (x * (1 + (down + across).unsqueeze(1))).clamp(0, 1)
    return x.clamp_min(1e-4) ** torch.exp(uniform(batch, c.gamma)).reshape(shape)


def spoil(x: Tensor, c: AugmentConfig) -> Tensor:
    """Noise, blur and erased rectangles, chosen per clip. x (B, T, H, W) in [0, 1]."""
    batch, _, height, width = x.shape
    for i in range(batch):
        if torch.rand(()) < c.blur:
            pooled = F.avg_pool2d(x[i].unsqueeze(1), 3, 1, 1)[:, 0]
            x[i] = torch.lerp(x[i], pooled, float(torch.rand(())) * 1.2)
        if torch.rand(()) < c.erase:
            h, w = (int(v) for v in torch.randint(height // 8, height // 3, (2,)))
            top, left = int(torch.randint(height - h, ())), int(torch.randint(width - w, ()))
            x[i, :, top : top + h, left : left + w] = torch.rand(())
    return x + torch.randn_like(x) * (torch.rand(batch, 1, 1, 1) * c.noise)


def mask_time(x: Tensor, lengths: Tensor, c: AugmentConfig) -> Tensor:
    """Replace random runs of up to `time_mask` frames by the clip's mean picture."""
    for i, length in enumerate(lengths.tolist()):
        for _ in range(int(torch.poisson(torch.tensor(length / 25 * c.time_masks_per_second)))):
            run = int(torch.randint(1, c.time_mask + 1, ()))
            start = int(torch.randint(max(1, length - run), ()))
            x[i, start : start + run] = x[i, :length].mean(0)
    return x


def augment(roi: Tensor, lengths: Tensor, config: AugmentConfig, *, mean: float, std: float) -> Tensor:
    """Augmented, normalised video: roi (B, T, 96, 96) uint8 -> (B, 1, T, 88, 88) float32."""
    x = warp(roi.float() / 255.0, config)
    x = spoil(light(x, config), config)
    if config.time_mask:
        x = mask_time(x, lengths, config)
    return ((x - mean) / std).unsqueeze(1)


def resample_time(x: Tensor, steps: int) -> Tensor:
    """(..., T) -> (..., steps) by linear interpolation (speed perturbation of frames and mels alike)."""
    if x.shape[-1] == steps:
        return x
    return F.interpolate(x.reshape(1, -1, x.shape[-1]).float(), steps, mode="linear").reshape(*x.shape[:-1], steps)


def nearest_time(x: Tensor, steps: int) -> Tensor:
    """(..., T) -> (..., steps) by nearest neighbour (tokens and pictures)."""
    index = (torch.arange(steps) * (x.shape[-1] / steps)).long().clamp_max(x.shape[-1] - 1)
    return x[..., index]
