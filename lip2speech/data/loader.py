"""Padded batches of clips and their targets, conditioned on another utterance of the same speaker."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lip2speech.audio.mel import MelConfig, warp_mel
from lip2speech.constants import MEL_RATE, per_video_frame
from lip2speech.data.augment import AugmentConfig, augment, resample_linear, resample_nearest
from lip2speech.data.dataset import Clip, group_by_speaker, pad_stack, sample_other_clip
from lip2speech.data.targets import Targets
from lip2speech.models.frontends.transforms import Transform
from lip2speech.models.speaker_encoder import LTASSpeakerEncoder, SpeakerEncoder

IGNORE_INDEX = -100
"""Target value that losses ignore, as in PyTorch."""

MEL_PER_FRAME = per_video_frame(MEL_RATE)
SPEED_PROB = VTLP_PROB = 0.5


@dataclass(frozen=True)
class Batch:
    """B clips padded to T video frames."""

    video: Tensor  # (B, 1, T, 88, 88) float32
    padding_mask: Tensor  # (B, T) bool, True = padding
    mel: Tensor  # (B, 80, 4T)
    units: Tensor | None  # (B, 2T), IGNORE_INDEX where padded
    codes: Tensor | None  # (B, n_q, rT), IGNORE_INDEX where padded
    speaker: Tensor  # (B, S)
    text: Tensor | None = None  # (B, N) characters, IGNORE_INDEX where padded
    pitch: Tensor | None = None  # (B, 2, 4T)

    def lengths(self) -> Tensor:
        """Number of video frames of each clip, (B,)."""
        return (~self.padding_mask).sum(1)

    def mask(self) -> Tensor:
        """(B, 1, 4T): 1 at mel frames of the clip, 0 at padding."""
        return (~self.padding_mask).float().repeat_interleave(MEL_PER_FRAME, 1).unsqueeze(1)


class BatchCollator:
    """Samples, augments and collates clips whose targets are in memory.

    Args:
        clips: The clips.
        targets: Their targets.
        config: Augmentation; None for validation.
        transform: The video transform without augmentation.
        sampling_weights: Probability of each folder of `clips`, in the order of first appearance; None for
            the folders' shares of the clips.
        speaker_encoder: The encoder of the targets' speaker embeddings; None for the long-term average
            spectrum.

    Raises:
        ValueError: The number of weights is not that of the folders.
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
        self.probabilities = _sampling_probabilities(clips, sampling_weights)

    def sample(self, batch_size: int, rng: np.random.Generator) -> Batch:
        """A random batch. Augmentation draws from torch's global generator, which the caller seeds.

        Clips are drawn without replacement while there are enough of them.
        """
        return self.collate(self.sample_indices(batch_size, rng), rng)

    def sample_indices(self, count: int, rng: np.random.Generator) -> list[int]:
        """Indices of random clips."""
        replacement = bool(np.count_nonzero(self.probabilities) < count)
        return [int(i) for i in rng.choice(len(self.clips), count, replace=replacement, p=self.probabilities)]

    def collate(self, indices: Sequence[int], rng: np.random.Generator) -> Batch:
        """The batch of the clips at `indices`, augmented if there is an augmentation config."""
        rois, targets = zip(*(self.load_clip(i, rng) for i in indices), strict=True)
        lengths = torch.tensor([len(roi) for roi in rois])
        frames = int(lengths.max())
        roi = torch.stack([torch.nn.functional.pad(r, (0, 0, 0, 0, 0, frames - len(r))) for r in rois])
        padding = torch.arange(frames)[None] >= lengths[:, None]
        if self.config is None:
            video = self.transform(roi)
        else:
            video = augment(roi, lengths, self.config, mean=self.transform.mean, std=self.transform.std)
        video = video * (~padding)[:, None, :, None, None]
        references = [self.targets[self.other_clip(i, rng)] for i in indices]
        speaker = tuple(reference.speaker for reference in references)
        if self.config and self.config.vtlp:
            pairs = (self.apply_vtlp(t, r, rng) for t, r in zip(targets, references, strict=True))
            targets, speaker = zip(*pairs, strict=True)
        return Batch(
            video,
            padding,
            mel=pad_stack([t.mel for t in targets], frames * MEL_PER_FRAME),
            units=pad_targets([t.units for t in targets]),
            codes=pad_targets([t.codes for t in targets]),
            speaker=torch.stack(speaker),
            text=pad_targets([t.text for t in targets]),
            pitch=pad_targets([t.pitch for t in targets]),
        )

    def load_clip(self, i: int, rng: np.random.Generator) -> tuple[Tensor, Targets]:
        """roi (T, 96, 96) and targets of one clip, with random speed perturbation when augmenting."""
        t = self.targets[i]
        roi, mel = self.clips[i].tensors()["roi"], t.mel.float()
        max_log_speed = self.config.speed if self.config else 0.0
        if not max_log_speed or rng.random() >= SPEED_PROB:
            return roi, replace(t, mel=mel)
        factor = float(np.exp(rng.uniform(-max_log_speed, max_log_speed)))
        old, frames = len(roi), max(1, round(len(roi) * factor))
        units, codes = (
            None if x is None else resample_nearest(x, frames * (x.shape[-1] // old))
            for x in (t.units, t.codes)
        )
        steps = frames * MEL_PER_FRAME
        mel, pitch = resample_linear(mel, steps), None if t.pitch is None else resample_linear(t.pitch, steps)
        roi = resample_nearest(roi.permute(1, 2, 0), frames).permute(2, 0, 1)
        return roi, replace(t, mel=mel, units=units, codes=codes, pitch=pitch)

    def apply_vtlp(self, t: Targets, reference: Targets, rng: np.random.Generator) -> tuple[Targets, Tensor]:
        """Vocal tract length perturbation of half of the clips: of the target and of the speaker embedding.

        Units and codes describe the original audio, so a perturbed clip has none.
        """
        assert self.config is not None, "only augmented batches are perturbed"
        if rng.random() >= VTLP_PROB:
            return t, reference.speaker
        factor = float(np.exp(rng.uniform(-self.config.vtlp, self.config.vtlp)))
        units, codes = (None if x is None else torch.full_like(x, IGNORE_INDEX) for x in (t.units, t.codes))
        mel = warp_mel(t.mel, factor, MelConfig())
        pitch = None if t.pitch is None else t.pitch + torch.tensor([[math.log2(factor)], [0.0]])
        embedding = self.speaker_encoder.warp_vocal_tract(reference.speaker, reference.mel, factor)
        return replace(t, mel=mel, units=units, codes=codes, pitch=pitch), embedding

    def other_clip(self, i: int, rng: np.random.Generator) -> int:
        """Index of another clip of the same speaker, or `i` if there is none."""
        return sample_other_clip(self.clips, self.groups, i, rng)


def _sampling_probabilities(clips: Sequence[Clip], weights: Sequence[float] | None) -> NDArray[Any]:
    """Probability of each clip, (len(clips),), from the probabilities of the folders."""
    folders = list(dict.fromkeys(c.folder for c in clips))
    if weights and len(weights) != len(folders):
        names = ", ".join(map(str, folders))
        raise ValueError(f"{len(weights)} sampling weights for {len(folders)} folders with clips ({names}).")
    sizes = Counter(c.folder for c in clips)
    shares = dict(zip(folders, weights, strict=True)) if weights else sizes
    probabilities = np.array([shares[c.folder] / sizes[c.folder] for c in clips])
    normalized: NDArray[Any] = probabilities / probabilities.sum()
    return normalized


def pad_targets(rows: Sequence[Tensor | None]) -> Tensor | None:
    """Stack one target (..., T_i) of all clips, padded to the longest; None if no clip has it."""
    present = [row for row in rows if row is not None]
    if not present:
        return None
    length = max(row.shape[-1] for row in present)
    return pad_stack(present, length, 0.0 if present[0].is_floating_point() else IGNORE_INDEX)
