"""Soft dynamic time warping: how far two sequences lie apart when either may wait for the other.

Cuturi and Blondel 2017, "Soft-DTW: a differentiable loss function for time-series", algorithm 1: the least
sum of costs over all monotone paths, its minimum softened by `gamma`. All cells of an antidiagonal depend on
the two before it alone, so a whole batch takes rows + columns - 1 steps; the gradient is autograd's. It knows
costs only, not what is aligned.

    R[i, j] = cost[i, j] + softmin(R[i - 1, j], R[i, j - 1], R[i - 1, j - 1])
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

FAR = 1e6  # instead of infinity, whose gradient is no number


def soft_dtw(
    cost: Tensor, rows: Tensor, columns: Tensor, *, gamma: float, band: float | None = None
) -> Tensor:
    """The soft least cost of a path from the first cell to the last one of each clip: (B,).

    Args:
        cost: (B, N, M), what it costs to pair i with j, padded to the longest.
        rows, columns: (B,), how many of each clip's N and M are real.
        gamma: how soft the minimum is, in units of cost; toward 0 it is plain DTW.
        band: how far, in steps of the shorter sequence, a path may leave the diagonal (Sakoe and Chiba 1978).
    """
    _check(cost, rows, columns, gamma, band)
    if band is not None:
        cost = torch.where(near_diagonal(cost, rows, columns, band), cost, FAR)
    batch, n, m = cost.shape
    # Row i moves i cells to the right: reading n + m numbers a row as n + m - 1 does that without a copy.
    skewed = F.pad(cost, (0, n), value=FAR).flatten(1)[:, : n * (n + m - 1)].view(batch, n, n + m - 1)
    ends = skewed[:, :, 0]  # of the paths to the present antidiagonal, by row
    before, diagonals = torch.full_like(ends, FAR), [ends]
    for costs in skewed.unbind(-1)[1:]:
        ways = torch.stack([_from_above(ends), ends, _from_above(before)])
        before, ends = ends, costs - gamma * torch.logsumexp(-ways / gamma, 0)
        diagonals.append(ends)
    clips = torch.arange(batch, device=cost.device)
    return torch.stack(diagonals, 1)[clips, rows + columns - 2, rows - 1]


def alignment(
    cost: Tensor, rows: Tensor, columns: Tensor, *, gamma: float, band: float | None = None
) -> Tensor:
    """How much of the soft path goes through each cell, (B, N, M) in 0..1; with a small gamma, the path."""
    given = cost.detach().requires_grad_()
    with torch.enable_grad():
        total = soft_dtw(given, rows, columns, gamma=gamma, band=band).sum()
    return torch.autograd.grad(total, given)[0]


def near_diagonal(cost: Tensor, rows: Tensor, columns: Tensor, band: float) -> Tensor:
    """(B, N, M) bool: the cells within `band` steps of the shorter sequence from the diagonal."""
    i, j = (torch.arange(size, device=cost.device) + 0.5 for size in cost.shape[1:])
    apart = i[None, :, None] / rows[:, None, None] - j[None, None, :] / columns[:, None, None]
    return apart.abs() * torch.minimum(rows, columns)[:, None, None] <= band


def _from_above(ends: Tensor) -> Tensor:
    return F.pad(ends[:, :-1], (1, 0), value=FAR)


def _check(cost: Tensor, rows: Tensor, columns: Tensor, gamma: float, band: float | None) -> None:
    if cost.ndim != 3 or rows.shape != cost.shape[:1] or columns.shape != cost.shape[:1]:
        shapes = tuple(cost.shape), tuple(rows.shape), tuple(columns.shape)
        raise ValueError(f"cost must be (B, N, M), rows and columns (B,), got {shapes}.")
    for name, lengths, most in (("rows", rows, cost.shape[1]), ("columns", columns, cost.shape[2])):
        if int(lengths.min()) < 1 or int(lengths.max()) > most:
            raise ValueError(f"{name} must be 1 to {most}, got {lengths.tolist()}.")
    if gamma <= 0 or (band is not None and band < 1):
        raise ValueError(f"gamma must be above 0 and band 1 or more, got {gamma} and {band}.")
