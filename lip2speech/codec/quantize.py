"""Vector quantisers: one codebook, and a residual stack (SoundStream, Zeghidour et al. 2021, section III-C).

Codebooks follow the latents by moving averages, not by gradients (van den Oord et al. 2017, appendix A);
entries that nobody uses are moved to latents of the batch. Two known traps of EnCodec's training code are
avoided. It takes the residual from the straight-through tensor, so that codebooks after the first give the
encoder no gradient; and it moves a dead entry without its moving average, which puts the entry back at once.

It does not know: where latents come from, or how the commitment loss is weighted. Statistics are of this
process's batch; under data-parallel training each process would keep its own.
"""

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class QuantizerConfig:
    """Numbers of a residual quantiser; the defaults are EnCodec's at 1024 entries."""

    n_q: int = 8
    codebook_size: int = 1024
    codebook_dim: int = 128
    decay: float = 0.99  # of the moving averages
    epsilon: float = 1e-5  # Laplace smoothing of the counts
    kmeans_iterations: int = 50
    # Dead is below this share of an even use of the batch; SoundStream's plain count of 2 depends on its
    # size.
    dead_share: float = 0.05


class Codebook(nn.Module):
    """One table of entries that follows what it quantises.

    Shape:
        quantize: (N, D) -> codes (N,);  embed: codes (...) -> (..., D)
    """

    inited: Tensor
    cluster_size: Tensor
    entries: Tensor
    entries_sum: Tensor

    def __init__(self, config: QuantizerConfig):
        super().__init__()
        self.config = config
        size, dim = config.codebook_size, config.codebook_dim
        entries = torch.empty(size, dim)
        nn.init.kaiming_uniform_(entries)
        self.register_buffer("inited", torch.zeros(1))
        self.register_buffer("cluster_size", torch.zeros(size))
        self.register_buffer("entries", entries)
        self.register_buffer("entries_sum", entries.clone())

    def quantize(self, x: Tensor) -> Tensor:
        """Index of the nearest entry: (N, D) -> (N,)."""
        # |x|^2 is the same for every entry and left out.
        distance = self.entries.pow(2).sum(1) - 2 * x @ self.entries.t()
        return distance.argmin(dim=1)

    def embed(self, codes: Tensor) -> Tensor:
        """(...) -> (..., D)."""
        return F.embedding(codes, self.entries)

    @torch.no_grad()
    def init_entries(self, x: Tensor) -> None:
        """Place the entries by k-means on (N, D)."""
        entries, counts = kmeans(x, self.config.codebook_size, self.config.kmeans_iterations)
        self.entries.copy_(entries)
        self.entries_sum.copy_(entries * counts[:, None])
        self.cluster_size.copy_(counts)
        self.inited.fill_(1)

    @torch.no_grad()
    def follow(self, x: Tensor, codes: Tensor) -> None:
        """Move the entries toward the (N, D) vectors that chose them, and dead ones to some of the batch."""
        if not len(x):
            return
        size = self.config.codebook_size
        counts = torch.bincount(codes, minlength=size).to(x)
        sums = torch.zeros_like(self.entries_sum).index_add_(0, codes, x)
        self.cluster_size.lerp_(counts, 1 - self.config.decay)
        self.entries_sum.lerp_(sums, 1 - self.config.decay)
        total = self.cluster_size.sum()
        smoothed = (self.cluster_size + self.config.epsilon) / (total + size * self.config.epsilon) * total
        self.entries.copy_(self.entries_sum / smoothed[:, None])
        self._revive(x)

    def _revive(self, x: Tensor) -> None:
        even_use = len(x) / self.config.codebook_size
        dead = (self.cluster_size < self.config.dead_share * even_use).nonzero()[:, 0]
        fresh = sample_rows(x, len(dead))
        self.entries[dead] = fresh
        self.entries_sum[dead] = fresh * even_use
        self.cluster_size[dead] = even_use


class ResidualVQ(nn.Module):
    """Residual vector quantiser (SoundStream, Zeghidour et al. 2021, section III-C).

    Stage i quantises what stages 0..i-1 left over; the stages' entries add up to the latent.

    Shape:
        forward: latent (B, C, T) -> quantized (B, C, T), codes (B, n_q, T), commit_loss ()
        encode:  latent (B, C, T) -> codes (B, n_q, T)
        decode:  codes (B, n_q, T) -> quantized (B, C, T)
    """

    def __init__(self, config: QuantizerConfig):
        super().__init__()
        self.config = config
        self.codebooks = nn.ModuleList(Codebook(config) for _ in range(config.n_q))

    def forward(self, latent: Tensor, n_q: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Quantise with gradients, in float32; in train mode the codebooks follow.

        Args:
            latent: (B, C, T).
            n_q: (B,) stages used by each item (quantiser dropout); all by default. Later stages neither learn
                from the item nor commit it, and its codes there are -1.
        Returns:
            quantized (B, C, T) with the straight-through gradient, codes (B, n_q, T),
            commit_loss (): mean over stages of the mean squared distance to the chosen entries.
        """
        with torch.autocast(latent.device.type, enabled=False):
            return self._forward(latent.float(), n_q)

    def _forward(self, latent: Tensor, n_q: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        if self.training:
            self.init_codebooks(latent)
        quantized = torch.zeros_like(latent)
        all_codes, losses = [], []
        for i, codebook in enumerate(self._stages()):
            # Later stages see the encoder through `latent`; what was already quantised is a constant.
            residual = latent - quantized
            used = torch.ones(len(latent), dtype=torch.bool, device=latent.device) if n_q is None else n_q > i
            chosen, codes, loss = self._stage(codebook, residual, used)
            quantized = quantized + chosen
            all_codes.append(codes)
            losses.append(loss)
        straight_through = latent + (quantized - latent).detach()
        return straight_through, torch.stack(all_codes, dim=1), torch.stack(losses).mean()

    def _stage(self, codebook: Codebook, residual: Tensor, used: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """residual (B, C, T), used (B,) -> chosen entries (B, C, T) constant, codes (B, T), loss ()."""
        batch, dim, frames = residual.shape
        x = residual.transpose(1, 2).reshape(-1, dim).detach()
        flat = codebook.quantize(x)
        chosen = codebook.embed(flat).view(batch, frames, dim).transpose(1, 2) * used[:, None, None]
        if self.training:
            mask = used.repeat_interleave(frames)
            codebook.follow(x[mask], flat[mask])
        codes = flat.view(batch, frames).masked_fill(~used[:, None], -1)
        error = (residual - chosen).pow(2).mean(dim=(1, 2)) * used
        return chosen, codes, error.sum() / used.sum().clamp(min=1)

    @torch.no_grad()
    def init_codebooks(self, latent: Tensor) -> None:
        """Place codebooks that have seen nothing yet by k-means, stage by stage, on (B, C, T)."""
        if all(codebook.inited.item() for codebook in self._stages()):
            return
        x = latent.detach().float().transpose(1, 2).reshape(-1, latent.shape[1])
        for codebook in self._stages():
            if not codebook.inited.item():
                codebook.init_entries(x)
            x = x - codebook.embed(codebook.quantize(x))

    def encode(self, latent: Tensor, n_q: int | None = None) -> Tensor:
        """(B, C, T) -> (B, n_q, T) with the first n_q codebooks (all by default)."""
        n_q = self._check_n_q(n_q)
        batch, dim, frames = latent.shape
        residual = latent.float().transpose(1, 2).reshape(-1, dim)
        codes = latent.new_zeros(batch, n_q, frames, dtype=torch.long)
        for i, codebook in enumerate(self._stages()[:n_q]):
            flat = codebook.quantize(residual)
            residual = residual - codebook.embed(flat)
            codes[:, i] = flat.view(batch, frames)
        return codes

    def decode(self, codes: Tensor) -> Tensor:
        """(B, n_q, T) -> (B, C, T); fewer codebooks than the quantiser has are welcome."""
        size = self.config.codebook_size
        if codes.dim() != 3 or not 1 <= codes.shape[1] <= self.config.n_q:
            raise ValueError(
                f"codes must be (B, n_q, T) with n_q <= {self.config.n_q}, got {tuple(codes.shape)}."
            )
        if codes.dtype.is_floating_point:
            raise ValueError(
                f"codes must be whole numbers, got {codes.dtype}; pass a latent to decode_latent."
            )
        if codes.numel() and (int(codes.min()) < 0 or int(codes.max()) >= size):
            raise ValueError(f"codes must be in 0..{size - 1}, got {int(codes.min())}..{int(codes.max())}.")
        quantized = [
            codebook.embed(codes[:, i]) for i, codebook in enumerate(self._stages()[: codes.shape[1]])
        ]
        return torch.stack(quantized).sum(0).transpose(1, 2)

    def _stages(self) -> list[Codebook]:
        return [cast(Codebook, codebook) for codebook in self.codebooks]

    def _check_n_q(self, n_q: int | None) -> int:
        if n_q is None:
            return self.config.n_q
        if not 1 <= n_q <= self.config.n_q:
            raise ValueError(f"n_q must be in 1..{self.config.n_q}, got {n_q}.")
        return n_q


def random_depths(batch: int, n_q: int, share: float, device: torch.device) -> Tensor | None:
    """Stages (batch,) that items use under quantiser dropout (section III-C): `share` of the items, drawn by
    chance, use 1..n_q with equal odds, the others all. None, and nothing is drawn, at share 0.
    """
    if share == 0:
        return None
    depths = torch.randint(1, n_q + 1, (batch,), device=device)
    return torch.where(torch.rand(batch, device=device) < share, depths, n_q)


def sample_rows(x: Tensor, n: int) -> Tensor:
    """n random rows of (N, D), without repeats while there are enough: (n, D)."""
    if n <= len(x):
        return x[torch.randperm(len(x), device=x.device)[:n]]
    return x[torch.randint(len(x), (n,), device=x.device)]


def kmeans(x: Tensor, n_clusters: int, iterations: int) -> tuple[Tensor, Tensor]:
    """Centres (n_clusters, D) of (N, D) by Lloyd's steps from random rows, and how many rows each has
    (n_clusters,).

    A centre without rows stays where it is.
    """
    centres = sample_rows(x, n_clusters)
    counts = torch.zeros(n_clusters, dtype=x.dtype, device=x.device)
    for _ in range(iterations):
        nearest = (centres.pow(2).sum(1) - 2 * x @ centres.t()).argmin(dim=1)
        counts = torch.bincount(nearest, minlength=n_clusters).to(x)
        sums = torch.zeros_like(centres).index_add_(0, nearest, x)
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
    return centres, counts
