"""Factorised, L2-normalised codes (Yu et al. 2022, section 3.2; as in DAC, Kumar et al. 2023, section 3.2).

Looking up is cheap and well used in few dimensions, keeping the sound needs many: each stage projects the
latent down, chooses the entry of nearest angle there, and projects that entry up again. Entries and
projections learn by gradients. Beside what DAC has, the entries start by k-means, and those that nobody uses
are moved to latents of the batch, as in `codebooks.py`.

It does not know: how its loss is weighted.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lip2speech.codecs.quantization.codebooks import (
    QuantizerConfig,
    UsageTrackedCodebook,
    nearest,
    sample_rows,
)
from lip2speech.distributed import all_gather_rows


class FactorizedCodebook(UsageTrackedCodebook):
    """Entries (K, d) of a few dimensions d between two projections.

    Shape:
        quantize: (N, D) -> codes (N,);  embed: codes (...) -> (..., D)
        choose: (N, D) -> chosen (N, D), codes (N,), loss (N,)
    """

    differentiable = True

    def __init__(self, config: QuantizerConfig):
        super().__init__(config)
        self.down = nn.Linear(config.codebook_dim, config.factorized_dim)
        self.up = nn.Linear(config.factorized_dim, config.codebook_dim)
        self.entries = nn.Parameter(torch.randn(self.size, config.factorized_dim))

    def quantize(self, x: Tensor) -> Tensor:
        """Code of the entry at the smallest angle: (N, D) -> (N,)."""
        return self._nearest(self.down(x))

    def embed(self, codes: Tensor) -> Tensor:
        """(...) -> (..., D)."""
        return self.up(F.embedding(codes, self.entries))

    def choose(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, D) -> entries (N, D) with a straight-through gradient, codes (N,), loss (N,).

        The loss is |entry - sg(low)|^2 + beta |low - sg(entry)|^2 in the few dimensions, means over them.
        """
        low = self.down(x)
        codes = self._nearest(low.detach())
        entry = F.embedding(codes, self.entries)
        to_low = (entry - low.detach()).pow(2).mean(1)
        to_entry = (low - entry.detach()).pow(2).mean(1)
        chosen = self.up(low + (entry - low).detach())
        return chosen, codes, to_low + self.config.beta * to_entry

    @torch.no_grad()
    def init_entries(self, x: Tensor) -> None:
        """Place the entries by k-means on the projections of (N, D)."""
        self.entries.copy_(self.start(self.down(x)))

    @torch.no_grad()
    def follow(self, x: Tensor, codes: Tensor) -> None:
        """Count what the (N, D) vectors chose, and move dead entries to some of the batch."""
        x, codes = all_gather_rows(x), all_gather_rows(codes)
        if not len(x):
            return
        counts = torch.bincount(codes, minlength=self.size).to(x)
        self.cluster_size.lerp_(counts, 1 - self.config.decay)
        dead = self.dead(len(x) / self.size)
        self.entries[dead] = self.down(sample_rows(x, len(dead)))

    def _nearest(self, low: Tensor) -> Tensor:
        # On the unit sphere the nearest is the one at the smallest angle.
        return nearest(F.normalize(low), F.normalize(self.entries))
