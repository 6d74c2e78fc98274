"""Nearest-centroid search and the k-means that initializes codebooks, equal in all training processes."""

from __future__ import annotations

import torch
from torch import Tensor

from lip2speech.utils.distributed import broadcast


def nearest(x: Tensor, entries: Tensor) -> Tensor:
    """Index (N,) of the entry (K, D) nearest to each of (N, D)."""
    # |x|^2 is the same for every entry and left out.
    distance = entries.pow(2).sum(1) - 2 * x @ entries.t()
    return distance.argmin(dim=1)


def sample_vectors(x: Tensor, n: int) -> Tensor:
    """n random rows (n, D) of (N, D), without repetition if n <= N; the same in every process.

    Indices are drawn on the CPU, so that they are the same on every device.
    """
    chosen = torch.randperm(len(x))[:n] if n <= len(x) else torch.randint(len(x), (n,))
    return x[broadcast(chosen).to(x.device)]


def kmeans(x: Tensor, n_clusters: int, n_iterations: int) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm from random rows; a centroid without rows stays in place.

    Args:
        x: (N, D).
        n_clusters: K.
        n_iterations: of assignment and update.

    Returns:
        Centroids (K, D), and how many rows each of them has (K,).
    """
    centroids = sample_vectors(x, n_clusters)
    counts = torch.zeros(n_clusters, dtype=x.dtype, device=x.device)
    for _ in range(n_iterations):
        assignment = nearest(x, centroids)
        counts = torch.bincount(assignment, minlength=n_clusters).to(x)
        sums = torch.zeros_like(centroids).index_add_(0, assignment, x)
        centroids = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centroids)
    return centroids, counts
