"""What pretraining sees and guesses: crops, filterbanks, masks for each, one cluster for each video frame.

Shi et al. 2022, sections 3.2 and 4.1. Clusters are those of a unit teacher; where it has several in a video
frame (cepstra: 50 a second), the first one counts, as published. They are made once and kept in a file, each
process making its share. Knows no network that learns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from lip2speech import distributed
from lip2speech.constants import SAMPLES_PER_FRAME, per_video_frame
from lip2speech.data.dataset import Clip, pad_stack
from lip2speech.data.loader import IGNORE_INDEX
from lip2speech.data.targets import clip_wav
from lip2speech.data.unit_tokenizers import UnitTokenizer
from lip2speech.models.frontends.filterbanks import stacked_filterbanks
from lip2speech.models.frontends.transforms import Transform
from lip2speech.train.pretrain.masking import SpanMask, draw_mask, substitutes


@dataclass(frozen=True)
class MaskedBatch:
    """B clips padded to T frames; masked pictures are other ones already, masked sound is still there."""

    video: Tensor  # (B, 1, T, 88, 88) float32
    audio: Tensor  # (B, 104, T) float32
    video_mask: Tensor  # (B, T) bool, True = another frame stands there
    audio_mask: Tensor  # (B, T) bool, True = to be replaced by the mask vector
    padding_mask: Tensor  # (B, T) bool, True = padding
    clusters: Tensor  # (B, T) int64, IGNORE_INDEX where padded

    def masked(self) -> Tensor:
        """Frames that either stream hides, (B, T) bool."""
        return self.video_mask | self.audio_mask


class MaskedAVDataset:
    """Draws masked batches from clips and their clusters.

    Args:
        clusters: (T,) of each clip.
        max_frames: a longer clip gives a random stretch of so many frames.
        random: random crops, half of them mirrored (training); else the centre.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        clusters: Sequence[Tensor],
        *,
        transform: Transform,
        video_mask: SpanMask,
        audio_mask: SpanMask,
        max_frames: int,
        random: bool,
    ):
        self.clips, self.clusters, self.transform = clips, clusters, transform
        self.video_mask, self.audio_mask = video_mask, audio_mask
        self.max_frames, self.random = max_frames, random
        self.lengths = [min(clip.n_frames, max_frames) for clip in clips]

    def choose(self, count: int, rng: np.random.Generator) -> list[int]:
        """Positions of random clips; none comes twice while there are enough."""
        return [int(i) for i in rng.choice(len(self.clips), count, replace=count > len(self.clips))]

    def collate(self, chosen: Sequence[int], rng: np.random.Generator) -> MaskedBatch:
        """The clips at positions `chosen`, each with masks of its own."""
        rows = [self.load(i, rng) for i in chosen]
        rois, sounds, clusters, seen, heard = zip(*rows, strict=True)
        lengths = torch.tensor([len(roi) for roi in rois])
        frames = int(lengths.max())
        roi = torch.stack([torch.nn.functional.pad(r, (0, 0, 0, 0, 0, frames - len(r))) for r in rois])
        return MaskedBatch(
            video=self.transform.random(roi) if self.random else self.transform(roi),
            audio=pad_stack(sounds, frames),
            video_mask=pad_stack(seen, frames).bool(),
            audio_mask=pad_stack(heard, frames).bool(),
            padding_mask=torch.arange(frames)[None] >= lengths[:, None],
            clusters=pad_stack(clusters, frames, IGNORE_INDEX),
        )

    def load(self, i: int, rng: np.random.Generator) -> tuple[Tensor, ...]:
        """A clip: roi (T, 96, 96), other frames where masked; sound (104, T); clusters and two masks (T,)."""
        tensors, n = self.clips[i].tensors(), self.lengths[i]
        start = int(rng.integers(self.clips[i].n_frames - n + 1))
        wav = tensors["wav"][start * SAMPLES_PER_FRAME : (start + n) * SAMPLES_PER_FRAME].float() / 32768.0
        seen, heard = (draw_mask(n, spans, rng) for spans in (self.video_mask, self.audio_mask))
        shown = torch.from_numpy(start + substitutes(seen, rng))
        masks = (torch.from_numpy(mask) for mask in (seen, heard))
        clusters = self.clusters[i][start : start + n].long()
        return tensors["roi"][shown], stacked_filterbanks(wav), clusters, *masks


def clusters_of(clips: Sequence[Clip], teacher: UnitTokenizer, file: Path | None = None) -> list[Tensor]:
    """The cluster of each video frame of each clip, (T,) int32.

    Args:
        file: where they are kept; what lies there is taken when it is of these clips and this teacher.
    """
    stamp = stamp_of(clips, teacher)
    lengths = [clip.n_frames for clip in clips]
    if (kept := read_clusters(file, stamp)) is not None:
        return list(kept.split(lengths))
    share = -(-len(clips) // distributed.world_size())
    first = distributed.rank() * share
    rows = [clusters_of_clip(clip, teacher) for clip in clips[first : first + share]]
    found = distributed.all_gather_rows(torch.cat([torch.empty(0, dtype=torch.int32), *rows]))
    if file is not None and distributed.rank() == 0:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(".tmp")
        temporary.write_bytes(save({"clusters": found}, metadata={"stamp": stamp}))
        temporary.replace(file)
    return list(found.split(lengths))


def clusters_of_clip(clip: Clip, teacher: UnitTokenizer) -> Tensor:
    """(T,) int32. ValueError: the clip's sound and picture differ in length."""
    tensors = clip.tensors()
    units = teacher(clip_wav(clip, tensors), tensors["roi"])
    return units[:: per_video_frame(teacher.rate)].int()


def read_clusters(file: Path | None, stamp: str) -> Tensor | None:
    """The clusters of all clips one after the other, (N,) int32; None where there are none of that stamp."""
    if file is None or not file.is_file():
        return None
    with safe_open(str(file), "pt") as kept:
        fits = (kept.metadata() or {}).get("stamp") == stamp
        return kept.get_tensor("clusters") if fits else None


def stamp_of(clips: Sequence[Clip], teacher: UnitTokenizer) -> str:
    """The same for the same clips and a teacher of the same units."""
    told = hashlib.sha256(teacher.fingerprint.encode())
    for clip in clips:
        told.update(f"{clip.folder}\0{clip.id}\0{clip.n_frames}\n".encode())
    return told.hexdigest()[:16]
