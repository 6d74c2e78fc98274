"""Codebooks that follow what they quantise, and what every other kind of codebook has in common with them.

The entries move by moving averages, not by gradients (van den Oord et al. 2017, appendix A), start at the
centres of k-means, and go to a latent of the batch when nobody uses them (Zeghidour et al. 2021, section
III-C). EnCodec's code moves such an entry without its moving average, which puts it back at once; here not.

It does not know: where latents come from, or that codebooks are stacked (`quantize.py`). Statistics are of
the rows of all processes that train together, so that every one of them keeps the same codebook.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lip2speech.distributed import all_gather_rows, broadcast


@dataclass(frozen=True)
class QuantizerConfig:
    """Numbers of a residual quantiser; the defaults are EnCodec's at 1024 entries.

    kind: what its codebooks are. `moving`: entries follow by moving averages; `plain`: each learns by
        gradients, for comparison; `simvq`: frozen coefficients in a learned basis (`simvq.py`); `factorised`:
        few dimensions, compared by angle (`factorised.py`).
    """

    n_q: int = 8
    codebook_size: int = 1024
    codebook_dim: int = 128
    kind: Literal["moving", "plain", "simvq", "factorised"] = "moving"
    decay: float = 0.99  # of the moving averages
    epsilon: float = 1e-5  # Laplace smoothing of the counts
    kmeans_iterations: int = 50
    # Dead is below this share of an even use of the batch; SoundStream's plain count of 2 depends on its
    # size.
    dead_code_threshold: float = 0.05
    factorized_dim: int = 8  # dimensions of a factorised entry (DAC)
    beta: float = 0.25  # of entries that learn by gradients: the encoder's share of their loss (SimVQ, DAC)


class Codebook(nn.Module, ABC):
    """One table of entries.

    Args:
        size: how many entries, K.
    Attributes:
        differentiable: `choose` gives entries through which the gradient reaches encoder and entries; else
            they are constants, and who calls it lets the gradient pass them by.
    Shape:
        quantize: (N, D) -> codes (N,);  embed: codes (...) -> (..., D)
        choose: (N, D) -> chosen (N, D), codes (N,), loss (N,)
    """

    differentiable = False

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    @property
    def placed(self) -> bool:
        """Whether the entries are where they should start."""
        return True

    @abstractmethod
    def quantize(self, x: Tensor) -> Tensor:
        """Code of the nearest entry: (N, D) -> (N,)."""

    @abstractmethod
    def embed(self, codes: Tensor) -> Tensor:
        """(...) -> (..., D)."""

    @abstractmethod
    def choose(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """For training: (N, D) -> nearest entries (N, D), their codes (N,), a loss for each row (N,)."""

    def init_entries(self, x: Tensor) -> None:
        """Place the entries on (N, D), where they have a place to choose."""

    def follow(self, x: Tensor, codes: Tensor) -> None:
        """Learn from the (N, D) vectors that got these codes (N,), where gradients do not."""


class UsageTrackedCodebook(Codebook):
    """A codebook that starts by k-means and knows how often each entry is used."""

    inited: Tensor
    cluster_size: Tensor

    def __init__(self, config: QuantizerConfig):
        super().__init__(config.codebook_size)
        self.config = config
        self.register_buffer("inited", torch.zeros(1))
        self.register_buffer("cluster_size", torch.zeros(self.size))

    @property
    def placed(self) -> bool:
        """Whether k-means has placed the entries."""
        return bool(self.inited.item())

    @torch.no_grad()
    def start(self, x: Tensor) -> Tensor:
        """The centres (K, D) of (N, D) by k-means; their counts are kept."""
        entries, counts = kmeans(x, self.size, self.config.kmeans_iterations)
        self.cluster_size.copy_(counts)
        self.inited.fill_(1)
        return entries

    def dead(self, even_use: float) -> Tensor:
        """Entries far below an even use of the batch, (M,); they are counted as used evenly from now on."""
        dead = (self.cluster_size < self.config.dead_code_threshold * even_use).nonzero()[:, 0]
        self.cluster_size[dead] = even_use
        return dead


class EMACodebook(UsageTrackedCodebook):
    """Entries that are moving averages of what chose them."""

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

    def embed(self, codes: Tensor) -> Tensor:
        """(...) -> (..., D)."""
        return F.embedding(codes, self.entries)

    def choose(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, D) -> constant entries (N, D), codes (N,), squared distance of the encoder to them (N,)."""
        codes = self.quantize(x.detach())
        chosen = self.embed(codes)
        return chosen, codes, (x - chosen).pow(2).mean(1)

    @torch.no_grad()
    def init_entries(self, x: Tensor) -> None:
        """Place the entries by k-means on (N, D)."""
        self.entries.copy_(self.start(x))
        self.entries_sum.copy_(self.entries * self.cluster_size[:, None])

    @torch.no_grad()
    def follow(self, x: Tensor, codes: Tensor) -> None:
        """Move the entries toward the (N, D) vectors that chose them, and dead ones to some of the batch."""
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
        self._revive(x)

    def _revive(self, x: Tensor) -> None:
        even_use = len(x) / self.size
        dead = self.dead(even_use)
        fresh = sample_rows(x, len(dead))
        self.entries[dead] = fresh
        self.entries_sum[dead] = fresh * even_use


class LearnedCodebook(Codebook):
    """Entries that learn by gradients of their own loss.

    With sg as "no gradient": loss = |entry - sg(x)|^2 + beta |x - sg(entry)|^2, means over D.

    Args:
        beta: the encoder's share.
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

    def embed(self, codes: Tensor) -> Tensor:
        """(...) -> (..., D)."""
        return F.embedding(codes, self.table())

    def choose(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, D) -> constant entries (N, D), codes (N,), loss (N,) of entries and encoder."""
        table = self.table()
        codes = nearest(x.detach(), table.detach())
        chosen = F.embedding(codes, table)
        to_encoder = (chosen - x.detach()).pow(2).mean(1)
        to_entry = (x - chosen.detach()).pow(2).mean(1)
        return chosen.detach(), codes, to_encoder + self.beta * to_entry


class VQVAECodebook(LearnedCodebook):
    """VQ-VAE's (van den Oord et al. 2017): only the chosen entries move, and many are never chosen."""

    def __init__(self, config: QuantizerConfig):
        super().__init__(config.codebook_size, config.beta)
        self.entries = nn.Parameter(torch.randn(self.size, config.codebook_dim) / config.codebook_dim**0.5)

    def table(self) -> Tensor:
        """The entries (K, D)."""
        return self.entries


def nearest(x: Tensor, entries: Tensor) -> Tensor:
    """Index of the nearest of (K, D) for each of (N, D): (N,)."""
    # |x|^2 is the same for every entry and left out.
    distance = entries.pow(2).sum(1) - 2 * x @ entries.t()
    return distance.argmin(dim=1)


def sample_rows(x: Tensor, n: int) -> Tensor:
    """n random rows of (N, D), without repeats while there are enough: (n, D), alike in every process.

    They are drawn on the CPU, so that they are the same on every device.
    """
    chosen = torch.randperm(len(x))[:n] if n <= len(x) else torch.randint(len(x), (n,))
    return x[broadcast(chosen).to(x.device)]


def kmeans(x: Tensor, n_clusters: int, iterations: int) -> tuple[Tensor, Tensor]:
    """Centres (n_clusters, D) of (N, D) by Lloyd's steps from random rows, and how many rows each has
    (n_clusters,).

    A centre without rows stays where it is.
    """
    centres = sample_rows(x, n_clusters)
    counts = torch.zeros(n_clusters, dtype=x.dtype, device=x.device)
    for _ in range(iterations):
        chosen = nearest(x, centres)
        counts = torch.bincount(chosen, minlength=n_clusters).to(x)
        sums = torch.zeros_like(centres).index_add_(0, chosen, x)
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
    return centres, counts
