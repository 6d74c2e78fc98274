"""Length-bucketed batches (lip2speech/train/core/sampler.py)."""

import numpy as np
import pytest

from lip2speech.train.core.micro_batch import FULL_BATCH, MicroBatch
from lip2speech.train.core.sampler import BucketBatchSampler

LENGTHS = np.random.default_rng(0).integers(13, 156, 300).tolist()


def next_batches(sampler: BucketBatchSampler, count: int) -> list[list[int]]:
    return [sampler.next_batch(FULL_BATCH) for _ in range(count)]


def test_every_clip_comes_once_per_epoch_in_another_order() -> None:
    sampler = BucketBatchSampler(LENGTHS, 600, 0)
    orders = [
        [i for batch in next_batches(sampler, sampler.batches_per_epoch) for i in batch] for _ in range(3)
    ]
    assert all(sorted(order) == list(range(300)) for order in orders)
    assert orders[0] != orders[1] != orders[2]


def test_batches_respect_the_frame_limit_with_little_padding() -> None:
    batches = [[LENGTHS[i] for i in batch] for batch in BucketBatchSampler(LENGTHS, 600, 0).batches(0)]
    assert max(len(batch) * max(batch) for batch in batches) <= 600
    padded = sum(len(batch) * max(batch) for batch in batches)
    assert padded < 1.1 * sum(LENGTHS)
    assert 600 * len(batches) < 1.35 * sum(LENGTHS)


def test_a_restored_sampler_continues_with_the_same_batches() -> None:
    first, second = BucketBatchSampler(LENGTHS, 600, 0), BucketBatchSampler(LENGTHS, 600, 0)
    next_batches(first, first.batches_per_epoch + 7)
    second.load_state_dict(first.state_dict())
    assert next_batches(first, 5) == next_batches(second, 5)


def test_two_processes_together_draw_the_batches_of_one() -> None:
    one, *two = (BucketBatchSampler(LENGTHS, 600, 0) for _ in range(3))
    pairs = [
        (two[0].next_batch(MicroBatch(0, 2)), two[1].next_batch(MicroBatch(1, 2)))
        for _ in range(one.batches_per_epoch)
    ]
    assert [batch for pair in pairs for batch in pair] == next_batches(one, 2 * one.batches_per_epoch)


def test_a_clip_longer_than_the_frame_limit_is_refused() -> None:
    with pytest.raises(
        ValueError, match="max_frames_per_batch is 100, the longest clip has 155 frames; raise it"
    ):
        BucketBatchSampler(LENGTHS, 100, 0)
