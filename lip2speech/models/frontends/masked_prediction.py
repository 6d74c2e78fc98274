"""What AV-HuBERT needs only while it is pretrained: guessing the cluster of each masked frame.

Shi et al. 2022, section 3.2 (from HuBERT, Hsu et al. 2021, equation 3): the cosine between the projected
feature and an embedding for each cluster, over a temperature. Knows nothing of where clusters come from.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class MaskedPredictionHeadConfig:
    """Sizes of the cluster head; the defaults are the published base model's.

    n_clusters: rows of the embedding. Published files count fairseq's four special words first, so cluster k
    of
        the label file is row k + 4.
    mask_dim: length of the vector that stands in for masked sound (or for masked features, early recipes).
    temperature: divides the cosine.
    """

    embed_dim: int = 768
    final_dim: int = 256
    n_clusters: int = 2004
    mask_dim: int = 104
    temperature: float = 0.1


class MaskedPredictionHead(nn.Module):
    """Features -> logits over clusters; also holds the vector that stands in for masked sound.

    Shape:
        forward: features (B, T, C) -> logits (B, T, n_clusters)
        mask: (mask_dim,)
    """

    def __init__(self, config: MaskedPredictionHeadConfig) -> None:
        super().__init__()
        self.config = config
        self.proj = nn.Linear(config.embed_dim, config.final_dim)
        self.embeddings = nn.Parameter(torch.rand(config.n_clusters, config.final_dim))
        self.mask = nn.Parameter(torch.rand(config.mask_dim))

    def forward(self, features: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, n_clusters)."""
        guess = F.normalize(self.proj(features).float(), dim=-1)
        cosine = guess @ F.normalize(self.embeddings.float(), dim=-1).t()
        return cosine / self.config.temperature
