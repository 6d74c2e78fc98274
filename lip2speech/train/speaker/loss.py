"""Additive angular margin softmax and the equal error rate of speaker verification."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AAMSoftmax(nn.Module):
    """Additive angular margin softmax (ArcFace, Deng et al. 2019), with one center per training speaker.

    Args:
        margin: added to the angle to the true center, in radians.
        scale: of the cosines.
    """

    def __init__(self, n_speakers: int, dim: int, margin: float, scale: float):
        super().__init__()
        self.margin, self.scale = margin, scale
        self.centers = nn.Parameter(torch.randn(n_speakers, dim))

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Unit embeddings (B, C), labels (B,) -> loss (), accuracy ()."""
        cosines = embeddings @ F.normalize(self.centers, dim=-1).T
        loss = aam_loss(cosines, labels, self.margin, self.scale)
        return loss, (cosines.argmax(1) == labels).float().mean()


def aam_loss(cosines: Tensor, labels: Tensor, margin: float, scale: float) -> Tensor:
    """Cross entropy of cosines (B, V) to the centers, with `margin` added to the angle of the true one."""
    target = cosines.gather(1, labels[:, None]).clamp(-1 + 1e-6, 1 - 1e-6)
    widened = torch.cos((target.acos() + margin).clamp_max(math.pi))
    return F.cross_entropy(scale * cosines.scatter(1, labels[:, None], widened), labels)


def equal_error_rate(embeddings: Tensor, labels: Tensor) -> float:
    """Error rate of verification at the threshold where false rejections and false acceptances are equal.

    Args:
        embeddings: unit vectors (N, C), compared pairwise.
        labels: speakers (N,).
    Raises:
        ValueError: no pair of one speaker, or no pair of two.
    """
    cosines = embeddings @ embeddings.T
    pairs = torch.triu(torch.ones_like(cosines, dtype=torch.bool), 1)
    same = labels[:, None] == labels[None]
    target, impostor = cosines[pairs & same], cosines[pairs & ~same]
    if not len(target) or not len(impostor):
        raise ValueError("the equal error rate needs two clips of one speaker and clips of two speakers.")
    thresholds = torch.unique(torch.cat([target, impostor]))
    rejected = torch.searchsorted(target.sort().values, thresholds) / len(target)
    accepted = 1 - torch.searchsorted(impostor.sort().values, thresholds) / len(impostor)
    best = (rejected - accepted).abs().argmin()
    return float((rejected[best] + accepted[best]) / 2)
