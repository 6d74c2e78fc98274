"""Length-bucketed batch sampling; the position within the epoch is part of a checkpoint.

Clips are shuffled, stably sorted by length (so the shuffle decides among equal lengths), cut into batches of
at most `max_frames` frames including padding, and the batches are shuffled.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lip2speech.train.core.micro_batch import MicroBatch


class BucketBatchSampler:
    """An infinite stream of batches of clip indices, each clip once per epoch.

    Args:
        lengths: frames of each clip.
        max_frames: limit on the frames of a batch, padding included.
    Attributes:
        n_batches_seen: batches drawn by all processes since the start of the run.
        batches_per_epoch: batches of an epoch, the same number in every epoch.
    """

    def __init__(self, lengths: Sequence[int], max_frames: int, seed: int):
        if max(lengths) > max_frames:
            raise ValueError(
                f"max_frames_per_batch is {max_frames}, the longest clip has {max(lengths)} frames; raise it."
            )
        self.lengths, self.max_frames, self.seed = np.asarray(lengths), max_frames, seed
        self.n_batches_seen = 0
        self._current_epoch = 0, self.batches(0)
        self.batches_per_epoch = len(self._current_epoch[1])

    def batches(self, epoch: int) -> list[list[int]]:
        """All batches of an epoch in order."""
        rng = np.random.default_rng((self.seed, epoch, len(self.lengths)))
        order = rng.permutation(len(self.lengths))
        order = order[np.argsort(self.lengths[order], kind="stable")]
        batches: list[list[int]] = [[]]
        for i in order.tolist():  # from short to long, so clip i is the longest of its batch
            if (len(batches[-1]) + 1) * self.lengths[i] > self.max_frames:
                batches.append([])
            batches[-1].append(i)
        return [batches[i] for i in rng.permutation(len(batches))]

    def next_batch(self, micro_batch: MicroBatch) -> list[int]:
        """The batch of one micro-batch; those of a step are distinct, the last one advances the sampler."""
        epoch, position = divmod(self.n_batches_seen + micro_batch.index, self.batches_per_epoch)
        if micro_batch.last:
            self.n_batches_seen += micro_batch.count
        if epoch != self._current_epoch[0]:
            self._current_epoch = epoch, self.batches(epoch)
        return self._current_epoch[1][position]

    def state_dict(self) -> dict[str, int]:
        """Epoch and position within it."""
        epoch, position = divmod(self.n_batches_seen, self.batches_per_epoch)
        return {"epoch": epoch, "position": position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Resume at the same epoch and position, whatever batch is there if the clips have changed."""
        self.n_batches_seen = state["epoch"] * self.batches_per_epoch + state["position"]
