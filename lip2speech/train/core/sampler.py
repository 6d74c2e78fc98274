"""Every clip once in an epoch, in batches of similar length; where it stands is part of a snapshot.

Clips are shuffled, sorted by length (so the shuffle decides among equals), cut into batches of at most so
many frames, and the batches shuffled. It knows no clips but their lengths.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lip2speech.train.core.micro_batch import MicroBatch


class BucketBatchSampler:
    """Batches of clip positions without end.

    Args:
        lengths: frames of each clip.
        frames: the most that a batch has, padding included.
    Attributes:
        taken: batches that all processes have had since the run began.
        per_epoch: batches of an epoch, the same number in each.
    """

    def __init__(self, lengths: Sequence[int], frames: int, seed: int):
        if max(lengths) > frames:
            raise ValueError(
                f"batch_frames is {frames}, the longest clip has {max(lengths)}; give as many or more."
            )
        self.lengths, self.frames, self.seed = np.asarray(lengths), frames, seed
        self.taken, self.present = 0, (0, self.batches(0))
        self.per_epoch = len(self.present[1])

    def batches(self, epoch: int) -> list[list[int]]:
        """All batches of an epoch in order."""
        rng = np.random.default_rng((self.seed, epoch, len(self.lengths)))
        order = rng.permutation(len(self.lengths))
        order = order[np.argsort(self.lengths[order], kind="stable")]
        found: list[list[int]] = [[]]
        for i in order.tolist():  # from short to long, so that clip i is the longest of its batch
            if (len(found[-1]) + 1) * self.lengths[i] > self.frames:
                found.append([])
            found[-1].append(i)
        return [found[i] for i in rng.permutation(len(found))]

    def draw(self, part: MicroBatch) -> list[int]:
        """The batch of a part; parts of one update have different ones, and the last moves on."""
        epoch, place = divmod(self.taken + part.index, self.per_epoch)
        if part.last:
            self.taken += part.count
        if epoch != self.present[0]:
            self.present = epoch, self.batches(epoch)
        return self.present[1][place]

    def state(self) -> dict[str, int]:
        """What a resumed run needs."""
        epoch, place = divmod(self.taken, self.per_epoch)
        return {"epoch": epoch, "place": place}

    def load_state(self, state: dict[str, int]) -> None:
        """Go on in the same epoch at the same batch; with other clips, at the batch that is there now."""
        self.taken = state["epoch"] * self.per_epoch + state["place"]
