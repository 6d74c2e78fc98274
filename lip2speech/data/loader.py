"""Batches of clips with their targets, padded, with another utterance of the same speaker as the voice."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lip2speech.audio.mel import MelConfig, warp_mel
from lip2speech.constants import per_video_frame
from lip2speech.data.augment import AugmentConfig, augment, resample_linear, resample_nearest
from lip2speech.data.dataset import Clip, group_by_speaker, pad_stack, sample_other_clip
from lip2speech.data.targets import Targets
from lip2speech.models.frontends.transforms import Transform
from lip2speech.models.speaker_encoder import LTASSpeakerEncoder, SpeakerEncoder

IGNORE_INDEX = -100  # a token that no loss counts


@dataclass(frozen=True)
class Batch:
    """B clips padded to T frames."""

    video: Tensor  # (B, 1, T, 88, 88) float32
    padding_mask: Tensor  # (B, T) bool, True = padding
    mel: Tensor  # (B, 80, 4T)
    units: Tensor | None  # (B, 2T), IGNORE_INDEX where padded
    codes: Tensor | None  # (B, n_q, rT), IGNORE_INDEX where padded
    speaker: Tensor  # (B, S)
    text: Tensor | None = None  # (B, N) letters, IGNORE_INDEX where padded
    pitch: Tensor | None = None  # (B, 2, 4T)

    def lengths(self) -> Tensor:
        """Video frames of each clip, (B,)."""
        return (~self.padding_mask).sum(1)

    def mask(self) -> Tensor:
        """(B, 1, 4T): 1 where the mel is the clip's, 0 where it is padding."""
        return (~self.padding_mask).float().repeat_interleave(per_video_frame(100), 1).unsqueeze(1)


class BatchCollator:
    """Draws batches from clips held with their targets.

    Args:
        sampling_weights: chance of each folder of `clips` in the order of first appearance; None: as many as they are.
        speaker_encoder: what made the targets' voices; the long-term spectrum when None.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        targets: Sequence[Targets],
        *,
        config: AugmentConfig | None,
        transform: Transform,
        sampling_weights: Sequence[float] | None = None,
        speaker_encoder: SpeakerEncoder | None = None,
    ):
        self.speaker_encoder = speaker_encoder or LTASSpeakerEncoder()
        self.clips, self.targets, self.config, self.transform = clips, targets, config, transform
        self.groups = group_by_speaker(clips)
        folders = list(dict.fromkeys(c.folder for c in clips))
        if sampling_weights and len(sampling_weights) != len(folders):
            names = ", ".join(map(str, folders))
            raise ValueError(
                f"{len(sampling_weights)} folder weights for {len(folders)} folders with clips ({names})."
            )
        sizes = Counter(c.folder for c in clips)
        shares = dict(zip(folders, sampling_weights, strict=True)) if sampling_weights else sizes
        chance = np.array([shares[c.folder] / sizes[c.folder] for c in clips])
        self.chance = chance / chance.sum()

    def sample(self, count: int, rng: np.random.Generator) -> Batch:
        """A random training batch, augmented; torch's own generator must have been seeded for the step.

        No clip comes twice while there are enough of them.
        """
        return self.collate(self.sample_indices(count, rng), rng)

    def sample_indices(self, count: int, rng: np.random.Generator) -> list[int]:
        """Positions of random clips."""
        few = np.count_nonzero(self.chance) < count
        return [int(i) for i in rng.choice(len(self.clips), count, replace=few, p=self.chance)]

    def collate(self, chosen: Sequence[int], rng: np.random.Generator) -> Batch:
        """The clips at positions `chosen`; plain when there is no augmentation config."""
        rois, targets = zip(*(self.load_clip(i, rng) for i in chosen), strict=True)
        lengths = torch.tensor([len(roi) for roi in rois])
        frames = int(lengths.max())
        roi = torch.stack([torch.nn.functional.pad(r, (0, 0, 0, 0, 0, frames - len(r))) for r in rois])
        padding = torch.arange(frames)[None] >= lengths[:, None]
        if self.config is None:
            video = self.transform(roi)
        else:
            video = augment(roi, lengths, self.config, mean=self.transform.mean, std=self.transform.std)
        video = video * (~padding)[:, None, :, None, None]
        voices = [self.targets[self.other_clip(i, rng)] for i in chosen]
        speaker = tuple(voice.speaker for voice in voices)
        if self.config and self.config.vtlp:
            pairs = (self.apply_vtlp(t, v, rng) for t, v in zip(targets, voices, strict=True))
            targets, speaker = zip(*pairs, strict=True)
        mel = pad_stack([t.mel for t in targets], frames * per_video_frame(100))
        units, codes = pad_targets([t.units for t in targets]), pad_targets([t.codes for t in targets])
        text, pitch = pad_targets([t.text for t in targets]), pad_targets([t.pitch for t in targets])
        return Batch(video, padding, mel, units, codes, torch.stack(speaker), text, pitch)

    def load_clip(self, i: int, rng: np.random.Generator) -> tuple[Tensor, Targets]:
        """roi (T, 96, 96) and targets of one clip, at a random speed when augmenting."""
        t = self.targets[i]
        roi, mel = self.clips[i].tensors()["roi"], t.mel.float()
        reach = self.config.speed if self.config else 0.0
        if not reach or rng.random() >= 0.5:
            return roi, replace(t, mel=mel)
        old, frames = len(roi), max(1, round(len(roi) * float(np.exp(rng.uniform(-reach, reach)))))
        units, codes = (
            None if x is None else resample_nearest(x, frames * (x.shape[-1] // old))
            for x in (t.units, t.codes)
        )
        steps = frames * per_video_frame(100)
        mel, pitch = resample_linear(mel, steps), None if t.pitch is None else resample_linear(t.pitch, steps)
        roi = resample_nearest(roi.permute(1, 2, 0), frames).permute(2, 0, 1)
        return roi, replace(t, mel=mel, units=units, codes=codes, pitch=pitch)

    def apply_vtlp(self, t: Targets, voice: Targets, rng: np.random.Generator) -> tuple[Targets, Tensor]:
        """Every other time a vocal tract of another length, in the target and in the voice that is asked for.

        Units and codes belong to the sound as it was, so such a clip has none.
        """
        assert self.config is not None, "only an augmented batch is revoiced"
        if rng.random() >= 0.5:
            return t, voice.speaker
        factor = float(np.exp(rng.uniform(-self.config.vtlp, self.config.vtlp)))
        units, codes = (None if x is None else torch.full_like(x, IGNORE_INDEX) for x in (t.units, t.codes))
        mel = warp_mel(t.mel, factor, MelConfig())
        pitch = None if t.pitch is None else t.pitch + torch.tensor([[math.log2(factor)], [0.0]])
        vector = self.speaker_encoder.warp_vocal_tract(voice.speaker, voice.mel, factor)
        return replace(t, mel=mel, units=units, codes=codes, pitch=pitch), vector

    def other_clip(self, i: int, rng: np.random.Generator) -> int:
        """Another clip of the same speaker; the clip itself when there is no other."""
        return sample_other_clip(self.clips, self.groups, i, rng)


def pad_targets(rows: Sequence[Tensor | None]) -> Tensor | None:
    """One target of all clips, (..., T_i) each, padded to the longest; None where there is none."""
    given = [row for row in rows if row is not None]
    if not given:
        return None
    longest = max(row.shape[-1] for row in given)
    return pad_stack(given, longest, 0.0 if given[0].is_floating_point() else IGNORE_INDEX)
