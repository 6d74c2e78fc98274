"""Several processes that train one model: who is who, and what they tell each other.

Plain torch.distributed as `torchrun` sets it up (WORLD_SIZE, RANK and where to meet come by the environment).
In one process every function gives back what it was given. Tensors of a CPU are summed by gloo, those of GPUs
by nccl. It does not know what is trained.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

PATIENCE = timedelta(hours=4)
"""How long the others wait while the first validates, samples and writes."""


def world() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0 on; the first one writes."""
    return dist.get_rank() if world() > 1 else 0


@contextmanager
def processes(device: torch.device | None = None) -> Iterator[None]:
    """In it the processes that one `torchrun` started know each other; a process alone stays alone.

    device: the GPU of this process; the CPU alone when None.
    """
    gpu = device is not None and device.type == "cuda"
    if gpu:
        torch.cuda.set_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def wait() -> None:
    """Go on when all are here."""
    sum_of(0.0)  # a sum of CPU tensors; dist.barrier would ask the GPUs


def any_of(claim: bool) -> bool:
    """Whether it is true in one process at least."""
    return sum_of(float(claim)) > 0


def sum_of(number: float) -> float:
    """The sum over processes."""
    total = torch.tensor(number, dtype=torch.float64)
    if world() > 1:
        dist.all_reduce(total)
    return float(total)


def mean_of(number: float) -> float:
    """The mean over processes."""
    return sum_of(number) / world() if world() > 1 else number


def sum_tensors(tensors: Sequence[Tensor]) -> None:
    """Each float32 tensor becomes its sum over processes, in place; all have the same ones."""
    if world() == 1 or not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])  # one message instead of hundreds
    dist.all_reduce(flat)
    for tensor, total in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(total.view(tensor.shape))


def from_first(tensor: Tensor) -> Tensor:
    """What the first process has there, in every process; all give the same shape."""
    if world() > 1:
        dist.broadcast(tensor, 0)
    return tensor


def gathered(rows: Tensor) -> Tensor:
    """Rows (N, ...) of all processes in the order of their ranks; each may have another N, also 0."""
    if world() == 1:
        return rows
    counts = [torch.zeros(1, dtype=torch.long, device=rows.device) for _ in range(world())]
    dist.all_gather(counts, torch.full_like(counts[0], len(rows)))
    longest = max(int(count) for count in counts)
    padded = torch.cat([rows, rows.new_zeros(longest - len(rows), *rows.shape[1:])])
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[: int(count)] for part, count in zip(parts, counts, strict=True)])
