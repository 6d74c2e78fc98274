"""Codebooks whose entries move together: a frozen table times a learned linear map.

- SimVQ (Zhu et al. 2025): the table is random, so only the basis of its space is learned. A step on any
  chosen entry moves all of them, and none is left behind; no moving averages, no restart of the dead.
- Semantic anchors (SACodec, AAAI 2026, equations 1 and 2): the table is the centres of a k-means on speech
  features. They keep their meaning and their bytes; what is learned is where they lie among the latents.
  (Projecting the latent to the centres instead, or copying the centres as entries, leaves most unused.)

It does not know: which features the centres come from, or how much these losses weigh.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lip2speech.codecs.quantization.codebooks import LearnedCodebook


class LinearMappedCodebook(LearnedCodebook):
    """Entries (K, D) = map(frozen (K, d)).

    Args:
        frozen: (K, d), a buffer that no training touches.
        dim: D of the latent.
        beta: the encoder's share of the loss.
        bias: whether the map has one.
    """

    frozen: Tensor

    def __init__(self, frozen: Tensor, dim: int, *, beta: float, bias: bool):
        super().__init__(len(frozen), beta)
        self.register_buffer("frozen", frozen)
        self.map = nn.Linear(frozen.shape[1], dim, bias=bias)

    def table(self) -> Tensor:
        """(K, D), where the entries lie now."""
        return self.map(self.frozen)


@dataclass(frozen=True)
class SimVQConfig:
    """Numbers of a SimVQ; the defaults are the authors' for speech. SACodec's basis has no bias."""

    codebook_size: int = 1024
    codebook_dim: int = 512
    beta: float = 0.25
    bias: bool = True


class SimVQCodebook(LinearMappedCodebook):
    """Random coefficients of the latent's own dimension, spread as in the authors' code (1 / sqrt D)."""

    def __init__(self, config: SimVQConfig):
        dim = config.codebook_dim
        coefficients = torch.randn(config.codebook_size, dim) / dim**0.5
        super().__init__(coefficients, dim, beta=config.beta, bias=config.bias)


@dataclass(frozen=True)
class SemanticCodebookConfig:
    """Shape of the k-means centres; the defaults are those of the public mHuBERT units (Lee et al. 2022)."""

    codebook_size: int = 1000
    centroid_dim: int = 768
    beta: float = 0.25


class SemanticCodebook(LinearMappedCodebook):
    """K-means centres, projected. They are part of the checkpoint; a new one has zeros until `anchor`."""

    def __init__(self, config: SemanticCodebookConfig, dim: int):
        centroids = torch.zeros(config.codebook_size, config.centroid_dim)
        super().__init__(centroids, dim, beta=config.beta, bias=True)

    @torch.no_grad()
    def anchor(self, centroids: Tensor) -> None:
        """Take the centres (K, d) of a k-means."""
        if centroids.shape != self.frozen.shape:
            raise ValueError(
                f"the k-means has centroids {tuple(centroids.shape)}, the codec's anchor is made for "
                f"{tuple(self.frozen.shape)}; set anchor.codebook_size and anchor.centroid_dim to the former."
            )
        self.frozen.copy_(centroids)
