"""The shares that the batch of one update is cut into: over processes, and over time in each of them.

The gradient of an update is the mean over its parts, and every part counts alike. Where a loss is a mean over
values of which each part has as many, that is the mean over the whole batch; where clips differ in length,
frames in a short part weigh more than in a long one (as under torch's DistributedDataParallel).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from lip2speech.train.core import distributed

Rows = TypeVar("Rows", Tensor, np.ndarray, list)


@dataclass(frozen=True)
class MicroBatch:
    """One share of an update's batch.

    index: which of `count` in all processes. first, last: whether it is the first, or the last, that this
    process sees of the update.
    """

    index: int = 0
    count: int = 1
    first: bool = True
    last: bool = True

    def of(self, rows: Rows) -> Rows:
        """Its share of rows (count * N, ...) that were drawn for the whole batch, alike everywhere."""
        size = len(rows) // self.count
        return rows[self.index * size : (self.index + 1) * size]

    def own(self, rng: np.random.Generator) -> np.random.Generator:
        """Random numbers of this part alone; the given ones where it is the whole."""
        return rng if self.count == 1 else rng.spawn(self.count)[self.index]


FULL_BATCH = MicroBatch()


def parts(accumulate: int) -> list[MicroBatch]:
    """What this process sees of every update, in order."""
    start, count = distributed.rank() * accumulate, distributed.world() * accumulate
    return [MicroBatch(start + i, count, i == 0, i == accumulate - 1) for i in range(accumulate)]


def seed_step(seed: int, step: int, part: MicroBatch = FULL_BATCH) -> np.random.Generator:
    """Seed torch and random for a part of one step; the generator returned is alike in all of its parts."""
    generator = np.random.default_rng((seed, step))
    seeds = generator.integers(2**62, size=2)
    if part.count > 1:
        seeds = part.own(generator).integers(2**62, size=2)
    torch.manual_seed(int(seeds[0]))
    random.seed(int(seeds[1]))
    return generator
