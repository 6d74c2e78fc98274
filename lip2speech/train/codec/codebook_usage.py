"""How much of each codebook is used."""

from __future__ import annotations

import torch
from torch import Tensor


class CodebookUsage:
    """Tracks which entries of every codebook were used in training since the last report.

    The validation segments have too few frames to use up a large codebook.
    """

    def __init__(self, codebook_sizes: tuple[int, ...]):
        self.used = [torch.zeros(size, dtype=torch.bool) for size in codebook_sizes]

    def add(self, codes: Tensor) -> None:
        """Count codes (B, n_q, T), -1 where an item did not use the codebook."""
        for used, codebook_codes in zip(self.used, codes.unbind(1), strict=True):
            used[codebook_codes[codebook_codes >= 0].cpu()] = True

    def report(self) -> dict[str, float]:
        """The share of used entries of each codebook; resets the count."""
        shares = {f"codebook_usage/{i}": float(used.float().mean()) for i, used in enumerate(self.used)}
        for used in self.used:
            used.zero_()
        return shares


def codebook_usage(codes: Tensor, codebook_sizes: tuple[int, ...]) -> float:
    """Share of entries that occur in codes (B, n_q, T), mean over codebooks."""
    usage = CodebookUsage(codebook_sizes)
    usage.add(codes)
    return sum(usage.report().values()) / len(codebook_sizes)
