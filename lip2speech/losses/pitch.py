"""Loss of a predicted pitch contour."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def pitch_loss(predicted: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """L1 of F0 in octaves over voiced frames, and binary cross entropy of voicing.

    Args:
        predicted: (B, 2, T): octaves, voicing logits.
        target: (B, 2, T): octaves, voiced share of the frame in 0..1.
        mask: (B, 1, T), 1 at valid frames.

    Returns:
        F0 error () in octaves and voicing cross entropy () in nats.
    """
    mask = mask[:, 0]
    voiced = target[:, 1].clamp(0, 1)
    f0_error = (predicted[:, 0] - target[:, 0]).abs() * voiced * mask
    bce = F.binary_cross_entropy_with_logits(predicted[:, 1], voiced, reduction="none") * mask
    return f0_error.sum() / (voiced * mask).sum().clamp_min(1.0), bce.sum() / mask.sum().clamp_min(1.0)
