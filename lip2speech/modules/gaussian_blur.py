"""Gaussian blur of images and mels."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def gaussian_blur(x: Tensor, sigma: float) -> Tensor:
    """Blur both axes of (N, H, W) with a Gaussian of `sigma` pixels; edges are replicated."""
    radius = math.ceil(3 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1.0) / max(sigma, 1e-3)) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(x[:, None], (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel[None, None, None]), kernel[None, None, :, None])[:, 0]
