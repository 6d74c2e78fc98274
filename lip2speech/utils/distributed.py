"""Collective operations for training in several processes.

Plain torch.distributed as `torchrun` sets it up (rank, world size and rendezvous come from the environment).
In a single process every function returns its argument. CPU tensors are reduced by gloo, CUDA tensors by
nccl.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

TIMEOUT = timedelta(hours=4)
"""Longest wait of the other ranks while rank 0 validates, logs samples and saves."""


def world_size() -> int:
    """Number of processes; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Index of this process; rank 0 validates and writes."""
    return dist.get_rank() if world_size() > 1 else 0


@contextmanager
def process_group(device: torch.device | None = None) -> Iterator[None]:
    """Join the processes of one `torchrun` for the duration of the context; a no-op for a single process.

    Args:
        device: the GPU of this process; None or a CPU device for CPU training.
    """
    cuda = device is not None and device.type == "cuda"
    if cuda:
        torch.cuda.set_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=TIMEOUT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def barrier() -> None:
    """Wait until every process has arrived."""
    all_reduce_sum(0.0)  # a sum of CPU tensors; dist.barrier would use the GPUs


def any_rank(flag: bool) -> bool:
    """Whether `flag` is true in at least one process."""
    return all_reduce_sum(float(flag)) > 0


def all_reduce_sum(value: float) -> float:
    """Sum of a number over processes."""
    total = torch.tensor(value, dtype=torch.float64)
    if world_size() > 1:
        dist.all_reduce(total)
    return float(total)


def all_reduce_mean(value: float) -> float:
    """Mean of a number over processes."""
    return all_reduce_sum(value) / world_size() if world_size() > 1 else value


def all_reduce_tensors(tensors: Sequence[Tensor]) -> None:
    """Replace each float32 tensor by its sum over processes, in place; all ranks pass the same shapes."""
    if world_size() == 1 or not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])  # one message instead of hundreds
    dist.all_reduce(flat)
    for tensor, total in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
        tensor.copy_(total.view(tensor.shape))


def broadcast(tensor: Tensor) -> Tensor:
    """The tensor of rank 0, in every process; all ranks pass the same shape."""
    if world_size() > 1:
        dist.broadcast(tensor, 0)
    return tensor


def all_gather_rows(rows: Tensor) -> Tensor:
    """Concatenate rows (N, ...) of all processes in rank order; N may differ by rank and may be 0."""
    if world_size() == 1:
        return rows
    counts = [torch.zeros(1, dtype=torch.long, device=rows.device) for _ in range(world_size())]
    dist.all_gather(counts, torch.full_like(counts[0], len(rows)))
    longest = max(int(count) for count in counts)
    padded = torch.cat([rows, rows.new_zeros(longest - len(rows), *rows.shape[1:])])
    gathered = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(gathered, padded)
    return torch.cat([one[: int(count)] for one, count in zip(gathered, counts, strict=True)])
