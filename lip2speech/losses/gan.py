"""Hinge GAN losses and relative feature matching (EnCodec, Défossez et al. 2022, section 3.4)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def discriminator_loss(real_logits: list[Tensor], fake_logits: list[Tensor]) -> Tensor:
    """Hinge loss () of the discriminators, mean over them."""
    terms = [
        F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        for real, fake in zip(real_logits, fake_logits, strict=True)
    ]
    return torch.stack(terms).mean()


def adversarial_loss(fake_logits: list[Tensor]) -> Tensor:
    """Hinge loss () of the generator, mean over the discriminators."""
    return torch.stack([F.relu(1 - fake).mean() for fake in fake_logits]).mean()


def feature_matching_loss(real_features: list[list[Tensor]], fake_features: list[list[Tensor]]) -> Tensor:
    """L1 between feature maps relative to the real map's mean magnitude, mean over all maps, ()."""
    terms = [
        (fake - real).abs().mean() / real.abs().mean().clamp_min(1e-4)
        for real_maps, fake_maps in zip(real_features, fake_features, strict=True)
        for real, fake in zip(real_maps, fake_maps, strict=True)
    ]
    return torch.stack(terms).mean()
