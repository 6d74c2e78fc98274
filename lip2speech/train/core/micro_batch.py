"""Micro-batches: how the batch of one optimizer step is split over processes and over accumulation steps.

The gradient of a step is the mean over its micro-batches, each with equal weight. If a loss averages over the
same number of values in each, this equals the mean over the full batch; if clips differ in length, frames of
a short micro-batch weigh more than those of a long one (as in torch's DistributedDataParallel).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from lip2speech.utils import distributed

Rows = TypeVar("Rows", Tensor, "np.ndarray[Any, Any]", "list[Any]")


@dataclass(frozen=True)
class MicroBatch:
    """One share of the batch of an optimizer step.

    Attributes:
        index: position among the `count` micro-batches of all processes.
        first: whether it is the first one of this process in the step.
        last: whether it is the last one of this process in the step.
    """

    index: int = 0
    count: int = 1
    first: bool = True
    last: bool = True

    def shard(self, rows: Rows) -> Rows:
        """The slice (N, ...) of rows (count * N, ...) that were drawn identically in every process."""
        size = len(rows) // self.count
        return rows[self.index * size : (self.index + 1) * size]

    def spawn_rng(self, rng: np.random.Generator) -> np.random.Generator:
        """A generator for this micro-batch only; `rng` itself if the micro-batch is the full batch."""
        return rng if self.count == 1 else rng.spawn(self.count)[self.index]


FULL_BATCH = MicroBatch()


def micro_batches(grad_accum_steps: int) -> list[MicroBatch]:
    """The micro-batches that this process computes in every step, in order."""
    start = distributed.rank() * grad_accum_steps
    count = distributed.world_size() * grad_accum_steps
    return [
        MicroBatch(start + i, count, first=i == 0, last=i == grad_accum_steps - 1)
        for i in range(grad_accum_steps)
    ]


def seed_step(seed: int, step: int, micro_batch: MicroBatch = FULL_BATCH) -> np.random.Generator:
    """Seed torch and random for one micro-batch of a step.

    Returns:
        a generator in the same state for all micro-batches of the step.
    """
    generator = np.random.default_rng((seed, step))
    seeds = generator.integers(2**62, size=2)
    if micro_batch.count > 1:
        seeds = micro_batch.spawn_rng(generator).integers(2**62, size=2)
    torch.manual_seed(int(seeds[0]))
    random.seed(int(seeds[1]))
    return generator
