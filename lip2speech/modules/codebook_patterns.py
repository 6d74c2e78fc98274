"""The delay pattern of codebooks (MusicGen, Copet et al. 2023, section 2.2): book k is told k steps late.

book 0   a0 a1 a2 a3  .  .         each column is told at once, so it takes T + n_q - 1 steps, and a code
book 1    . b0 b1 b2 b3  .         can be given the books before it at its own time, for they lie in
book 2    .  . c0 c1 c2 c3         columns before
"""

from __future__ import annotations

import torch
from torch import Tensor


def interleave(codes: Tensor, fill: int | float) -> Tensor:
    """(B, n_q, T, ...) -> (B, n_q, T + n_q - 1, ...), book k begins k steps late; elsewhere `fill`."""
    n_q, steps = codes.shape[1], codes.shape[2]
    out = codes.new_full((len(codes), n_q, steps + n_q - 1, *codes.shape[3:]), fill)
    for k in range(n_q):
        out[:, k, k : k + steps] = codes[:, k]
    return out


def deinterleave(delayed: Tensor) -> Tensor:
    """The inverse of `interleave`: (B, n_q, T + n_q - 1, ...) -> (B, n_q, T, ...)."""
    n_q = delayed.shape[1]
    steps = delayed.shape[2] - n_q + 1
    if steps < 0:
        raise ValueError(
            f"{n_q} delayed books have {n_q - 1} steps or more, got {delayed.shape[2]}; give what "
            "`interleave` made."
        )
    return torch.stack([delayed[:, k, k : k + steps] for k in range(n_q)], 1)
