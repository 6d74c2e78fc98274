"""Codebooks of one size, or each of its own: how they are written, named, and told apart in one tensor.

Logits of all books share one tensor as wide as the largest; what a smaller book lacks is -inf there: its
probability is 0, and no argmax takes it. Knows neither codes nor what they mean.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

MOST_BOOKS = 255
"""As many as a file of codes can hold; ours have 4, the most published 32."""

ABSENT = -torch.inf
"""The logit of an entry that a book does not have."""


def book_sizes(codebook_size: int | tuple[int, ...], n_q: int) -> tuple[int, ...]:
    """Entries of each of n_q books, of one size for all or of a size for each."""
    if not 0 <= n_q <= MOST_BOOKS:
        raise ValueError(f"n_q must be 0 .. {MOST_BOOKS}, got {n_q}.")
    sizes = (codebook_size,) * n_q if isinstance(codebook_size, int) else codebook_size
    if len(sizes) != n_q:
        raise ValueError(
            f"codebook_size must be one number, or one for each of n_q {n_q} books, got {sizes}."
        )
    return sizes


def books(sizes: tuple[int, ...]) -> str:
    """Sizes for people: `4 books of 512`, `2 books of 100 and 1024`, `no books`."""
    if not sizes:
        return "no books"
    told = str(sizes[0]) if len(set(sizes)) == 1 else " and ".join(map(str, sizes))
    return f"{len(sizes)} books of {told}"


def stack_books(logits: Iterable[Tensor], size: int, dim: int) -> Tensor:
    """Logits of every book (..., K_i) -> one tensor whose last axis is `size`, the books along `dim`."""
    return torch.stack([F.pad(x, (0, size - x.shape[-1]), value=ABSENT) for x in logits], dim)
