"""Factorized, L2-normalized codes (Yu et al. 2022, section 3.2; as in DAC, Kumar et al. 2023, section 3.2).

Look-up works best in few dimensions, reconstruction in many: each stage projects the latent down, picks the
entry of smallest angle there, and projects it back up. Entries and projections learn by gradients. In
addition to DAC, the entries start from k-means, and unused ones are replaced by latents of the batch, as in
`codebooks.py`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lip2speech.codecs.quantization.codebooks import QuantizerConfig, UsageTrackedCodebook
from lip2speech.codecs.quantization.kmeans import nearest, sample_vectors
from lip2speech.utils.distributed import all_gather_rows


class FactorizedCodebook(UsageTrackedCodebook):
    """Entries (K, d) of few dimensions d between two projections.

    Shape:
        quantize: (N, D) -> codes (N,)
        dequantize: codes (...) -> (..., D)
        quantize_train: (N, D) -> entries (N, D), codes (N,), loss (N,)
    """

    differentiable = True

    def __init__(self, config: QuantizerConfig):
        super().__init__(config)
        self.in_proj = nn.Linear(config.codebook_dim, config.factorized_dim)
        self.out_proj = nn.Linear(config.factorized_dim, config.codebook_dim)
        self.entries = nn.Parameter(torch.randn(self.size, config.factorized_dim))

    def quantize(self, x: Tensor) -> Tensor:
        """Code of the entry at the smallest angle: (N, D) -> (N,)."""
        return self._nearest(self.in_proj(x))

    def dequantize(self, codes: Tensor) -> Tensor:
        """(...) -> (..., D)."""
        entries: Tensor = self.out_proj(F.embedding(codes, self.entries))
        return entries

    def quantize_train(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, D) -> entries (N, D) with a straight-through gradient, codes (N,), loss (N,).

        The loss is |entry - sg(z)|^2 + beta |z - sg(entry)|^2 with z the projected latent, means over d.
        """
        z = self.in_proj(x)
        codes = self._nearest(z.detach())
        entry = F.embedding(codes, self.entries)
        codebook_loss = (entry - z.detach()).pow(2).mean(1)
        commitment_loss = (z - entry.detach()).pow(2).mean(1)
        chosen = self.out_proj(z + (entry - z).detach())
        return chosen, codes, codebook_loss + self.config.beta * commitment_loss

    @torch.no_grad()
    def init_entries(self, x: Tensor) -> None:
        """Initialize the entries by k-means on the projections of (N, D)."""
        self.entries.copy_(self.init_kmeans(self.in_proj(x)))

    @torch.no_grad()
    def update(self, x: Tensor, codes: Tensor) -> None:
        """Track the usage, and replace dead entries by vectors of the batch (N, D)."""
        x, codes = all_gather_rows(x), all_gather_rows(codes)
        if not len(x):
            return
        counts = torch.bincount(codes, minlength=self.size).to(x)
        self.cluster_size.lerp_(counts, 1 - self.config.decay)
        dead = self.pop_dead_codes(len(x) / self.size)
        self.entries[dead] = self.in_proj(sample_vectors(x, len(dead)))

    def _nearest(self, z: Tensor) -> Tensor:
        # On the unit sphere the nearest entry is the one at the smallest angle.
        return nearest(F.normalize(z), F.normalize(self.entries))
