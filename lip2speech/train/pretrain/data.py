"""Data of AV-HuBERT pre-training: mouth crops, filterbanks, masks of both, and one cluster per video frame.

Shi et al. 2022, sections 3.2 and 4.1. Clusters come from a unit tokenizer; where it has several per video
frame (MFCC units: 50 Hz), the first one counts, as published. They are computed once, in equal shares by all
processes, and stored in a file.
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
from torch.nn import functional as F

from lip2speech.constants import SAMPLES_PER_FRAME, per_video_frame
from lip2speech.data.dataset import Clip, pad_stack
from lip2speech.data.loader import IGNORE_INDEX
from lip2speech.data.targets import clip_wav
from lip2speech.data.unit_tokenizers import UnitTokenizer
from lip2speech.models.frontends.filterbanks import stacked_filterbanks
from lip2speech.models.frontends.transforms import Transform
from lip2speech.train.pretrain.masking import SpanMask, sample_mask, substitute_frames
from lip2speech.utils import distributed


@dataclass(frozen=True)
class MaskedBatch:
    """B clips padded to T frames; masked video is already substituted, masked audio is not yet replaced.

    Attributes:
        video: (B, 1, T, 88, 88) float32.
        audio: (B, 104, T) float32.
        video_mask: (B, T) bool, True = substituted by another frame.
        audio_mask: (B, T) bool, True = to be replaced by the mask embedding.
        padding_mask: (B, T) bool, True = padding.
        clusters: (B, T) int64, IGNORE_INDEX at padding.
    """

    video: Tensor
    audio: Tensor
    video_mask: Tensor
    audio_mask: Tensor
    padding_mask: Tensor
    clusters: Tensor

    def masked(self) -> Tensor:
        """Frames that are masked in either modality, (B, T) bool."""
        return self.video_mask | self.audio_mask


class MaskedAVDataset:
    """Clips with their clusters, as masked batches.

    Args:
        clusters: (T,) of each clip.
        max_frames: longer clips are cropped to a random span of this length.
        random: random crops, half of them flipped (training); else the center.
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

    def sample_indices(self, count: int, rng: np.random.Generator) -> list[int]:
        """Indices of random clips, without repetition while there are enough."""
        return [int(i) for i in rng.choice(len(self.clips), count, replace=count > len(self.clips))]

    def collate(self, indices: Sequence[int], rng: np.random.Generator) -> MaskedBatch:
        """A batch of the clips at `indices`, each with its own masks."""
        rows = [self.load_clip(i, rng) for i in indices]
        rois, audio, clusters, video_masks, audio_masks = zip(*rows, strict=True)
        lengths = torch.tensor([len(roi) for roi in rois])
        frames = int(lengths.max())
        roi = torch.stack([F.pad(r, (0, 0, 0, 0, 0, frames - len(r))) for r in rois])
        return MaskedBatch(
            video=self.transform.random(roi) if self.random else self.transform(roi),
            audio=pad_stack(audio, frames),
            video_mask=pad_stack(video_masks, frames).bool(),
            audio_mask=pad_stack(audio_masks, frames).bool(),
            padding_mask=torch.arange(frames)[None] >= lengths[:, None],
            clusters=pad_stack(clusters, frames, IGNORE_INDEX),
        )

    def load_clip(self, i: int, rng: np.random.Generator) -> tuple[Tensor, ...]:
        """A clip: roi (T, 96, 96) with substituted frames, audio (104, T), clusters and both masks (T,)."""
        tensors, n = self.clips[i].tensors(), self.lengths[i]
        start = int(rng.integers(self.clips[i].n_frames - n + 1))
        wav = tensors["wav"][start * SAMPLES_PER_FRAME : (start + n) * SAMPLES_PER_FRAME].float() / 32768.0
        video_mask, audio_mask = (sample_mask(n, spans, rng) for spans in (self.video_mask, self.audio_mask))
        frames = torch.from_numpy(start + substitute_frames(video_mask, rng))
        masks = (torch.from_numpy(mask) for mask in (video_mask, audio_mask))
        clusters = self.clusters[i][start : start + n].long()
        return tensors["roi"][frames], stacked_filterbanks(wav), clusters, *masks


def extract_clusters(
    clips: Sequence[Clip], tokenizer: UnitTokenizer, file: Path | None = None
) -> list[Tensor]:
    """The cluster of each video frame of each clip, (T,) int32.

    Args:
        clips: of one split.
        tokenizer: makes the units.
        file: where they are stored; its contents are used if they are of these clips and this tokenizer.
    """
    fingerprint = clusters_fingerprint(clips, tokenizer)
    lengths = [clip.n_frames for clip in clips]
    if (stored := load_clusters(file, fingerprint)) is not None:
        return list(torch.split(stored, lengths))
    share = -(-len(clips) // distributed.world_size())
    first = distributed.rank() * share
    rows = [clip_clusters(clip, tokenizer) for clip in clips[first : first + share]]
    clusters = distributed.all_gather_rows(torch.cat([torch.empty(0, dtype=torch.int32), *rows]))
    if file is not None and distributed.rank() == 0:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(".tmp")
        temporary.write_bytes(save({"clusters": clusters}, metadata={"fingerprint": fingerprint}))
        temporary.replace(file)
    return list(torch.split(clusters, lengths))


def clip_clusters(clip: Clip, tokenizer: UnitTokenizer) -> Tensor:
    """The cluster of each video frame, (T,) int32; ValueError if audio and video differ in length."""
    tensors = clip.tensors()
    units = tokenizer(clip_wav(clip, tensors), tensors["roi"])
    return units[:: per_video_frame(tokenizer.rate)].int()


def load_clusters(file: Path | None, fingerprint: str) -> Tensor | None:
    """Stored clusters of all clips, concatenated (N,) int32; None if there are none of that fingerprint."""
    if file is None or not file.is_file():
        return None
    with safe_open(str(file), "pt") as stored:
        if (stored.metadata() or {}).get("fingerprint") != fingerprint:
            return None
        clusters: Tensor = stored.get_tensor("clusters")
        return clusters


def clusters_fingerprint(clips: Sequence[Clip], tokenizer: UnitTokenizer) -> str:
    """A hash of the list of clips and of the tokenizer."""
    digest = hashlib.sha256(tokenizer.fingerprint.encode())
    for clip in clips:
        digest.update(f"{clip.folder}\0{clip.id}\0{clip.n_frames}\n".encode())
    return digest.hexdigest()[:16]
