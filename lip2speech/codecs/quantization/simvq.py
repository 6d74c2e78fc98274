"""Codebooks whose entries move together: a frozen table times a learned linear map.

- SimVQ (Zhu et al. 2025): the table is random, so only the basis of its space is learned. A step on any
  chosen entry moves all of them, and none is left behind: no moving averages, no replacement of dead entries.
- Semantic codebook (SACodec, AAAI 2026, equations 1 and 2): the table is k-means centroids of speech
  features. Their meaning is fixed; their position among the latents is learned. (Projecting the latent to the
  centroids instead, or copying the centroids as entries, leaves most unused.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lip2speech.codecs.quantization.codebooks import LearnedCodebook


class LinearMappedCodebook(LearnedCodebook):
    """Entries (K, D) = proj(frozen (K, d)).

    Args:
        frozen: (K, d), a buffer that is not trained.
        dim: D of the latent.
        beta: weight of the encoder's share of the loss.
        bias: whether the map has one.
    """

    frozen: Tensor

    def __init__(self, frozen: Tensor, dim: int, *, beta: float, bias: bool):
        super().__init__(len(frozen), beta)
        self.register_buffer("frozen", frozen)
        self.proj = nn.Linear(frozen.shape[1], dim, bias=bias)

    def table(self) -> Tensor:
        """The projected entries (K, D)."""
        entries: Tensor = self.proj(self.frozen)
        return entries


@dataclass(frozen=True)
class SimVQConfig:
    """SimVQ; the defaults are the authors' for speech. SACodec's basis has no bias."""

    codebook_size: int = 1024
    codebook_dim: int = 512
    beta: float = 0.25
    bias: bool = True


class SimVQCodebook(LinearMappedCodebook):
    """Random coefficients of the latent's dimension, scaled by 1 / sqrt(D) as in the authors' code."""

    def __init__(self, config: SimVQConfig):
        dim = config.codebook_dim
        coefficients = torch.randn(config.codebook_size, dim) / dim**0.5
        super().__init__(coefficients, dim, beta=config.beta, bias=config.bias)


@dataclass(frozen=True)
class SemanticCodebookConfig:
    """Shape of the k-means centroids; the defaults are the public mHuBERT units' (Lee et al. 2022)."""

    codebook_size: int = 1000
    centroid_dim: int = 768
    beta: float = 0.25


class SemanticCodebook(LinearMappedCodebook):
    """Projected k-means centroids. They are part of the checkpoint; zeros until `set_centroids`."""

    def __init__(self, config: SemanticCodebookConfig, dim: int):
        centroids = torch.zeros(config.codebook_size, config.centroid_dim)
        super().__init__(centroids, dim, beta=config.beta, bias=True)

    @torch.no_grad()
    def set_centroids(self, centroids: Tensor) -> None:
        """Copy the centroids (K, d) of a k-means."""
        if centroids.shape != self.frozen.shape:
            raise ValueError(
                f"the k-means has centroids {tuple(centroids.shape)}, the codec's semantic codebook expects "
                f"{tuple(self.frozen.shape)}; set semantic.codebook_size and semantic.centroid_dim to match."
            )
        self.frozen.copy_(centroids)
