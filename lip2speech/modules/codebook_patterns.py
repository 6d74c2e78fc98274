"""Codebooks in one tensor: sizes, logits of codebooks of different sizes, and the delay pattern.

Logits of all codebooks share one tensor whose last axis is as long as the largest codebook; entries that a
smaller codebook lacks are -inf there, so their probability is 0 and argmax never picks them.

The delay pattern (MusicGen, Copet et al. 2023, section 2.2) shifts codebook k by k steps:

    codebook 0   a0 a1 a2 a3  .  .       T + n_q - 1 steps are predicted one after the other, and each code
    codebook 1    . b0 b1 b2 b3  .       can be conditioned on the codes of earlier codebooks at its own
    codebook 2    .  . c0 c1 c2 c3       time, which are in earlier steps
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_CODEBOOKS = 255
"""Limit of the format of compressed files; our codecs have 4 codebooks, published ones at most 32."""

MASKED_LOGIT = -torch.inf
"""Logit of an entry that a codebook does not have."""


def expand_codebook_sizes(codebook_size: int | tuple[int, ...], n_q: int) -> tuple[int, ...]:
    """Number of entries of each of `n_q` codebooks, from one size for all or one for each.

    Raises:
        ValueError: `n_q` is out of range, or there is not one size for each codebook.
    """
    if not 0 <= n_q <= MAX_CODEBOOKS:
        raise ValueError(f"n_q must be 0 .. {MAX_CODEBOOKS}, got {n_q}.")
    sizes = (codebook_size,) * n_q if isinstance(codebook_size, int) else codebook_size
    if len(sizes) != n_q:
        raise ValueError(
            f"codebook_size must be one number, or one for each of n_q {n_q} codebooks, got {sizes}."
        )
    return sizes


def describe_codebooks(sizes: tuple[int, ...]) -> str:
    """Sizes in words: `4 codebooks of 512`, `2 codebooks of 100 and 1024`, `no codebooks`."""
    if not sizes:
        return "no codebooks"
    entries = str(sizes[0]) if len(set(sizes)) == 1 else " and ".join(map(str, sizes))
    return f"{len(sizes)} codebooks of {entries}"


def stack_logits(logits: Iterable[Tensor], size: int, dim: int) -> Tensor:
    """Stack logits (..., K_i) of all codebooks along `dim`, padded with -inf to `size` entries each."""
    return torch.stack([F.pad(x, (0, size - x.shape[-1]), value=MASKED_LOGIT) for x in logits], dim)


def apply_delay(codes: Tensor, fill: int | float) -> Tensor:
    """(B, n_q, T, ...) -> (B, n_q, T + n_q - 1, ...): codebook k shifted by k steps, `fill` elsewhere."""
    n_q, steps = codes.shape[1], codes.shape[2]
    out = codes.new_full((len(codes), n_q, steps + n_q - 1, *codes.shape[3:]), fill)
    for k in range(n_q):
        out[:, k, k : k + steps] = codes[:, k]
    return out


def revert_delay(delayed: Tensor) -> Tensor:
    """The inverse of `apply_delay`: (B, n_q, T + n_q - 1, ...) -> (B, n_q, T, ...)."""
    n_q = delayed.shape[1]
    steps = delayed.shape[2] - n_q + 1
    if steps < 0:
        raise ValueError(
            f"{n_q} delayed codebooks have {n_q - 1} steps or more, got {delayed.shape[2]}; pass the output "
            "of apply_delay."
        )
    return torch.stack([delayed[:, k, k : k + steps] for k in range(n_q)], 1)
