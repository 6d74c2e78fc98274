"""Soft dynamic time warping: a differentiable distance between two sequences of different timing.

Cuturi and Blondel 2017, "Soft-DTW: a differentiable loss function for time-series", algorithm 1: the minimum
total cost over all monotone paths, with the minimum softened by `gamma`. Cells of an antidiagonal depend only
on the two before it, so a whole batch takes rows + columns - 1 steps; the gradient is autograd's.

    R[i, j] = cost[i, j] + softmin(R[i - 1, j], R[i, j - 1], R[i - 1, j - 1])
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

INF = 1e6  # instead of infinity, whose gradient is NaN


def soft_dtw(
    cost: Tensor, rows: Tensor, columns: Tensor, *, gamma: float, band: float | None = None
) -> Tensor:
    """Soft minimum cost of a path from the first to the last cell of each clip: (B,).

    Args:
        cost: (B, N, M), cost of pairing i with j, padded.
        rows: (B,), valid i of each clip.
        columns: (B,), valid j of each clip.
        gamma: softness of the minimum, in units of cost; toward 0 it is plain DTW.
        band: largest distance of a path from the diagonal, in steps of the shorter sequence (Sakoe and Chiba
            1978).
    """
    _check(cost, rows, columns, gamma, band)
    if band is not None:
        cost = torch.where(sakoe_chiba_band(cost, rows, columns, band), cost, INF)
    batch, n, m = cost.shape
    # Skew row i by i cells: reading n + m numbers a row as n + m - 1 does that without a copy.
    skewed = F.pad(cost, (0, n), value=INF).flatten(1)[:, : n * (n + m - 1)].view(batch, n, n + m - 1)
    current = skewed[:, :, 0]  # R on the current antidiagonal, by row
    previous, diagonals = torch.full_like(current, INF), [current]
    for costs in skewed.unbind(-1)[1:]:
        neighbors = torch.stack([_shift_down(current), current, _shift_down(previous)])
        previous, current = current, costs - gamma * torch.logsumexp(-neighbors / gamma, 0)
        diagonals.append(current)
    clips = torch.arange(batch, device=cost.device)
    return torch.stack(diagonals, 1)[clips, rows + columns - 2, rows - 1]


def soft_dtw_alignment(
    cost: Tensor, rows: Tensor, columns: Tensor, *, gamma: float, band: float | None = None
) -> Tensor:
    """Share of the soft path through each cell, (B, N, M) in 0..1; with a small gamma, the DTW path."""
    leaf = cost.detach().requires_grad_()
    with torch.enable_grad():
        total = soft_dtw(leaf, rows, columns, gamma=gamma, band=band).sum()
    return torch.autograd.grad(total, leaf)[0]


def sakoe_chiba_band(cost: Tensor, rows: Tensor, columns: Tensor, band: float) -> Tensor:
    """(B, N, M) bool: cells within `band` steps of the shorter sequence from the diagonal."""
    i, j = (torch.arange(size, device=cost.device) + 0.5 for size in cost.shape[1:])
    distance = i[None, :, None] / rows[:, None, None] - j[None, None, :] / columns[:, None, None]
    return distance.abs() * torch.minimum(rows, columns)[:, None, None] <= band


def _shift_down(values: Tensor) -> Tensor:
    """The values of the row above, INF in the first row."""
    return F.pad(values[:, :-1], (1, 0), value=INF)


def _check(cost: Tensor, rows: Tensor, columns: Tensor, gamma: float, band: float | None) -> None:
    if cost.ndim != 3 or rows.shape != cost.shape[:1] or columns.shape != cost.shape[:1]:
        shapes = tuple(cost.shape), tuple(rows.shape), tuple(columns.shape)
        raise ValueError(f"cost must be (B, N, M), rows and columns (B,), got {shapes}.")
    for name, lengths, size in (("rows", rows, cost.shape[1]), ("columns", columns, cost.shape[2])):
        if int(lengths.min()) < 1 or int(lengths.max()) > size:
            raise ValueError(f"{name} must be in 1..{size}, got {lengths.tolist()}.")
    if gamma <= 0 or (band is not None and band < 1):
        raise ValueError(f"gamma must be above 0 and band 1 or more, got {gamma} and {band}.")
