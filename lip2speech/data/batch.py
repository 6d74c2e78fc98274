"""Batches of clips with their targets, padded, with another utterance of the same speaker as the voice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lip2speech.data.augment import AugmentConfig, augment, nearest_time, resample_time
from lip2speech.data.dataset import Clip, by_speaker, pad_stack
from lip2speech.data.targets import Targets
from lip2speech.frontend.transforms import Transform
from lip2speech.rates import per_video_frame

IGNORED = -100  # a token that no loss counts


@dataclass(frozen=True)
class Batch:
    """B clips padded to T frames."""

    video: Tensor  # (B, 1, T, 88, 88) float32
    padding_mask: Tensor  # (B, T) bool, True = padding
    mel: Tensor  # (B, 80, 4T)
    units: Tensor | None  # (B, 2T), IGNORED where padded
    codes: Tensor | None  # (B, n_q, rT), IGNORED where padded
    speaker: Tensor  # (B, 163)


class Batches:
    """Draws batches from clips held with their targets.

    Args:
        weights: chance of each folder of `clips` in the order of first appearance; None: as many as they are.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        targets: Sequence[Targets],
        *,
        config: AugmentConfig | None,
        transform: Transform,
        weights: Sequence[float] | None = None,
    ):
        self.clips, self.targets, self.config, self.transform = clips, targets, config, transform
        self.groups = by_speaker(clips)
        folders = list(dict.fromkeys(c.folder for c in clips))
        shares = dict(zip(folders, weights, strict=True)) if weights else {f: 1.0 for f in folders}
        sizes = {f: sum(c.folder == f for c in clips) for f in folders}
        chance = np.array([shares[c.folder] / (sizes[c.folder] if weights else 1) for c in clips])
        self.chance = chance / chance.sum()

    def draw(self, count: int, rng: np.random.Generator) -> Batch:
        """A random training batch, augmented; torch's own generator must have been seeded for the step."""
        chosen = rng.choice(len(self.clips), count, replace=False, p=self.chance)
        return self.collate([int(i) for i in chosen], rng)

    def collate(self, chosen: Sequence[int], rng: np.random.Generator) -> Batch:
        """The clips at positions `chosen`; plain when there is no augmentation config."""
        rows = [self.load(i, rng) for i in chosen]
        frames = max(len(r["roi"]) for r in rows)
        lengths = torch.tensor([len(r["roi"]) for r in rows])
        roi = torch.stack([torch.nn.functional.pad(r["roi"], (0, 0, 0, 0, 0, frames - len(r["roi"]))) for r in rows])
        padding = torch.arange(frames)[None] >= lengths[:, None]
        if self.config is None:
            video = self.transform(roi)
        else:
            video = augment(roi, lengths, self.config, mean=self.transform.mean, std=self.transform.std)
        video = video * (~padding)[:, None, :, None, None]
        speaker = torch.stack([self.targets[self.other(i, rng)].speaker for i in chosen])
        stacked = {k: self.stack([r[k] for r in rows], frames) for k in ("mel", "units", "codes")}
        return Batch(video=video, padding_mask=padding, speaker=speaker, **stacked)  # type: ignore[arg-type]

    def load(self, i: int, rng: np.random.Generator) -> dict[str, Tensor | None]:
        """roi and targets of one clip, at a random speed when augmenting."""
        t = self.targets[i]
        roi = self.clips[i].tensors()["roi"]
        row: dict[str, Tensor | None] = {"roi": roi, "mel": t.mel.float(), "units": t.units, "codes": t.codes}
        reach = self.config.speed if self.config else 0.0
        if reach and rng.random() < 0.5:
            frames = max(8, round(len(roi) * float(np.exp(rng.uniform(-reach, reach)))))
            row["roi"] = nearest_time(roi.permute(1, 2, 0), frames).permute(2, 0, 1)
            row["mel"] = resample_time(t.mel.float(), frames * per_video_frame(100))
            for key, value in (("units", t.units), ("codes", t.codes)):
                if value is not None:
                    row[key] = nearest_time(value, frames * (value.shape[-1] // len(roi)))
        return row

    def other(self, i: int, rng: np.random.Generator) -> int:
        """Another clip of the same speaker; the clip itself when there is no other."""
        group = self.groups[(self.clips[i].folder, self.clips[i].speaker)]
        others = [j for j in group if j != i]
        return int(rng.choice(others)) if others else i

    def stack(self, rows: Sequence[Tensor | None], frames: int) -> Tensor | None:
        """Targets of all clips padded to the clock of `frames`."""
        if rows[0] is None:
            return None
        longest = max(r.shape[-1] for r in rows if r is not None)
        tokens = not rows[0].is_floating_point()
        return pad_stack([r for r in rows if r is not None], longest, IGNORED if tokens else 0.0)
