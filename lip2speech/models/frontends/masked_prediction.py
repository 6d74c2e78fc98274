"""The head of AV-HuBERT's and HuBERT's pretraining: predicts the cluster of each masked frame.

Shi et al. 2022, section 3.2 (from HuBERT, Hsu et al. 2021, equation 3): the cosine between the projected
feature and an embedding of each cluster, divided by a temperature.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class MaskedPredictionHeadConfig:
    """Sizes; the defaults are the published base model's.

    Args:
        embed_dim: C of the features.
        final_dim: size of the projection and of the cluster embeddings.
        n_clusters: number of cluster embeddings. Published files count fairseq's four special tokens first,
            so cluster k of the label file is row k + 4.
        mask_dim: size of the mask embedding, which replaces masked audio features (or masked features, in
            early configs).
        temperature: divides the cosine.
    """

    embed_dim: int = 768
    final_dim: int = 256
    n_clusters: int = 2004
    mask_dim: int = 104
    temperature: float = 0.1


class MaskedPredictionHead(nn.Module):
    """Features to logits over clusters; also holds the mask embedding.

    Shape:
        forward: features (B, T, C) -> logits (B, T, n_clusters)
        mask_embedding: (mask_dim,)
    """

    def __init__(self, config: MaskedPredictionHeadConfig) -> None:
        super().__init__()
        self.config = config
        self.proj = nn.Linear(config.embed_dim, config.final_dim)
        self.embeddings = nn.Parameter(torch.rand(config.n_clusters, config.final_dim))
        self.mask_embedding = nn.Parameter(torch.rand(config.mask_dim))

    def forward(self, features: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, n_clusters)."""
        projected = F.normalize(self.proj(features).float(), dim=-1)
        cosine = projected @ F.normalize(self.embeddings.float(), dim=-1).t()
        return cosine / self.config.temperature
