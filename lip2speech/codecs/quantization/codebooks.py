"""The codebook interface, and codebooks whose entries follow moving averages (EnCodec) or gradients (VQ-VAE).

EMA entries are updated by moving averages instead of gradients (van den Oord et al. 2017, appendix A), start
at k-means centroids, and are replaced by a latent of the batch when unused (Zeghidour et al. 2021, section
III-C). EnCodec's code replaces such an entry without its moving average, which moves it back at once; ours
replaces both. Statistics are taken over all training processes, so that all of them keep the same codebook.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lip2speech.codecs.quantization.kmeans import kmeans, nearest, sample_vectors
from lip2speech.utils.distributed import all_gather_rows


@dataclass(frozen=True)
class QuantizerConfig:
    """Residual vector quantizer; the defaults are EnCodec's at 1024 entries.

    Attributes:
        n_q: number of codebooks.
        codebook_size: entries of each.
        codebook_dim: dimension of the latent.
        kind: `ema`: moving averages; `vqvae`: gradients, for comparison; `simvq`: frozen coefficients in a
            learned basis (`simvq.py`); `factorized`: few dimensions, compared by angle (`factorized.py`).
        decay: of the moving averages.
        epsilon: Laplace smoothing of the counts.
        kmeans_iterations: of the initialization.
        dead_code_threshold: an entry is dead below this share of an even use of the batch; SoundStream's
            absolute count of 2 depends on the batch size.
        factorized_dim: dimension of a factorized entry (DAC's codebook_dim).
        beta: weight of the encoder's share of the loss where entries learn by gradients (SimVQ, DAC).
    """

    n_q: int = 8
    codebook_size: int = 1024
    codebook_dim: int = 128
    kind: Literal["ema", "vqvae", "simvq", "factorized"] = "ema"
    decay: float = 0.99
    epsilon: float = 1e-5
    kmeans_iterations: int = 50
    dead_code_threshold: float = 0.05
    factorized_dim: int = 8
    beta: float = 0.25


class Codebook(nn.Module, ABC):
    """One table of entries.

    Args:
        size: number of entries, K.

    Attributes:
        differentiable: whether the entries that `quantize_train` gives pass a gradient to encoder and
            entries; otherwise they are constants, and the caller applies the straight-through estimator.

    Shape:
        quantize: (N, D) -> codes (N,)
        dequantize: codes (...) -> (..., D)
        quantize_train: (N, D) -> entries (N, D), codes (N,), loss (N,)
    """

    differentiable = False

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    @property
    def initialized(self) -> bool:
        """Whether the entries have their initial values."""
        return True

    @abstractmethod
    def quantize(self, x: Tensor) -> Tensor:
        """Code of the nearest entry: (N, D) -> (N,)."""

    @abstractmethod
    def dequantize(self, codes: Tensor) -> Tensor:
        """(...) -> (..., D)."""

    @abstractmethod
    def quantize_train(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, D) -> nearest entries (N, D), their codes (N,), loss of each row (N,)."""

    def init_entries(self, x: Tensor) -> None:
        """Initialize the entries from (N, D), for codebooks that start from data."""

    def update(self, x: Tensor, codes: Tensor) -> None:
        """Update what does not learn by gradients, from vectors (N, D) and the codes (N,) they got."""


class UsageTrackedCodebook(Codebook):
    """A codebook that starts from k-means and tracks how often each entry is used."""

    inited: Tensor
    cluster_size: Tensor

    def __init__(self, config: QuantizerConfig):
        super().__init__(config.codebook_size)
        self.config = config
        self.register_buffer("inited", torch.zeros(1))
        self.register_buffer("cluster_size", torch.zeros(self.size))

    @property
    def initialized(self) -> bool:
        """Whether k-means has run."""
        return bool(self.inited.item())

    @torch.no_grad()
    def init_kmeans(self, x: Tensor) -> Tensor:
        """K-means centroids (K, D) of (N, D); their counts initialize the usage."""
        entries, counts = kmeans(x, self.size, self.config.kmeans_iterations)
        self.cluster_size.copy_(counts)
        self.inited.fill_(1)
        return entries

    def pop_dead_codes(self, even_use: float) -> Tensor:
        """Entries (M,) far below an even use of the batch; their usage is reset to even."""
        dead = (self.cluster_size < self.config.dead_code_threshold * even_use).nonzero()[:, 0]
        self.cluster_size[dead] = even_use
        return dead


class EMACodebook(UsageTrackedCodebook):
    """Entries that are exponential moving averages of the vectors assigned to them."""

    entries: Tensor
    entries_sum: Tensor

    def __init__(self, config: QuantizerConfig):
        super().__init__(config)
        entries = torch.empty(self.size, config.codebook_dim)
        nn.init.kaiming_uniform_(entries)
        self.register_buffer("entries", entries)
        self.register_buffer("entries_sum", entries.clone())

    def quantize(self, x: Tensor) -> Tensor:
        """Code of the nearest entry: (N, D) -> (N,)."""
        return nearest(x, self.entries)

    def dequantize(self, codes: Tensor) -> Tensor:
        """(...) -> (..., D)."""
        return F.embedding(codes, self.entries)

    def quantize_train(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, D) -> constant entries (N, D), codes (N,), commitment loss (N,)."""
        codes = self.quantize(x.detach())
        chosen = self.dequantize(codes)
        return chosen, codes, (x - chosen).pow(2).mean(1)

    @torch.no_grad()
    def init_entries(self, x: Tensor) -> None:
        """Initialize the entries by k-means on (N, D)."""
        self.entries.copy_(self.init_kmeans(x))
        self.entries_sum.copy_(self.entries * self.cluster_size[:, None])

    @torch.no_grad()
    def update(self, x: Tensor, codes: Tensor) -> None:
        """Move entries toward the vectors (N, D) assigned to them; replace dead ones by some of these."""
        x, codes = all_gather_rows(x), all_gather_rows(codes)
        if not len(x):
            return
        counts = torch.bincount(codes, minlength=self.size).to(x)
        sums = torch.zeros_like(self.entries_sum).index_add_(0, codes, x)
        self.cluster_size.lerp_(counts, 1 - self.config.decay)
        self.entries_sum.lerp_(sums, 1 - self.config.decay)
        total, epsilon = self.cluster_size.sum(), self.config.epsilon
        smoothed = (self.cluster_size + epsilon) / (total + self.size * epsilon) * total
        self.entries.copy_(self.entries_sum / smoothed[:, None])
        self._replace_dead_codes(x)

    def _replace_dead_codes(self, x: Tensor) -> None:
        even_use = len(x) / self.size
        dead = self.pop_dead_codes(even_use)
        replacement = sample_vectors(x, len(dead))
        self.entries[dead] = replacement
        self.entries_sum[dead] = replacement * even_use


class LearnedCodebook(Codebook):
    """Entries that learn by the gradient of their own loss.

    With sg as stop-gradient: loss = |entry - sg(x)|^2 + beta |x - sg(entry)|^2, means over D.

    Args:
        size: number of entries, K.
        beta: weight of the encoder's share.
    """

    def __init__(self, size: int, beta: float):
        super().__init__(size)
        self.beta = beta

    @abstractmethod
    def table(self) -> Tensor:
        """The entries (K, D)."""

    def quantize(self, x: Tensor) -> Tensor:
        """Code of the nearest entry: (N, D) -> (N,)."""
        return nearest(x, self.table())

    def dequantize(self, codes: Tensor) -> Tensor:
        """(...) -> (..., D)."""
        return F.embedding(codes, self.table())

    def quantize_train(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, D) -> constant entries (N, D), codes (N,), loss (N,) of entries and encoder."""
        table = self.table()
        codes = nearest(x.detach(), table.detach())
        chosen = F.embedding(codes, table)
        codebook_loss = (chosen - x.detach()).pow(2).mean(1)
        commitment_loss = (x - chosen.detach()).pow(2).mean(1)
        return chosen.detach(), codes, codebook_loss + self.beta * commitment_loss


class VQVAECodebook(LearnedCodebook):
    """VQ-VAE's codebook (van den Oord et al. 2017): only chosen entries move, and many are never chosen."""

    def __init__(self, config: QuantizerConfig):
        super().__init__(config.codebook_size, config.beta)
        self.entries = nn.Parameter(torch.randn(self.size, config.codebook_dim) / config.codebook_dim**0.5)

    def table(self) -> Tensor:
        """The entries (K, D)."""
        return self.entries
