"""Training data of vocoders: segments of prepared clips, degraded to resemble predictions from lips.

Mels and units of real audio are sharp and correct; those predicted from lips are blurred, noisy and often
wrong. A vocoder that never sees such inputs turns them into hoarse speech. Segments start in mid-speech, but
are preceded by silence for the network, as at the beginning of a clip.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lip2speech.audio.mel import MIN_MEL_STD, MelConfig
from lip2speech.constants import MEL_RATE, UNIT_RATE, per_video_frame
from lip2speech.data.dataset import MIN_FRAMES, group_by_speaker, read_clips, sample_other_clip
from lip2speech.data.targets import TargetExtractor
from lip2speech.data.unit_tokenizers import UnitTokenizer
from lip2speech.models.speaker_encoder import SpeakerEncoder
from lip2speech.modules.gaussian_blur import gaussian_blur
from lip2speech.train.core.micro_batch import MicroBatch

UNIT_RATIO = MEL_RATE // UNIT_RATE  # mel frames per unit
SPAN_UNITS = 4
"""Units that are substituted together: 80 ms, about a phoneme. Lip-reading errors affect whole phonemes; an
isolated wrong unit would be too easy to repair."""
NEIGHBOR_PROB = 0.5
"""Share of substituted spans that repeat the span before or after them: a timing error."""


@dataclass(frozen=True)
class VocoderBatch:
    """wav (B, T_a), mel (B, 80, F), speaker (B, S) of other clips, units (B, F / 2) or None."""

    wav: Tensor
    mel: Tensor
    speaker: Tensor
    units: Tensor | None = None

    def shard(self, micro_batch: MicroBatch) -> VocoderBatch:
        """The items of a micro-batch."""
        units = None if self.units is None else micro_batch.shard(self.units)
        return VocoderBatch(
            micro_batch.shard(self.wav), micro_batch.shard(self.mel), micro_batch.shard(self.speaker), units
        )

    def split_items(self) -> Iterator[VocoderBatch]:
        """The items one by one, B = 1."""
        for i in range(len(self.wav)):
            units = None if self.units is None else self.units[i : i + 1]
            yield VocoderBatch(self.wav[i : i + 1], self.mel[i : i + 1], self.speaker[i : i + 1], units)


class VocoderDataset:
    """Audio, mels, units and speaker embeddings of all clips of a split that are long enough, in memory.

    Args:
        folders: of prepared clips.
        split: of the clips.
        segment_frames: mel frames of a segment; even if there is a unit tokenizer.
        speaker_encoder: for the speaker embeddings.
        unit_tokenizer: for the units; None: no units.
    """

    def __init__(
        self,
        folders: tuple[str, ...],
        split: str,
        segment_frames: int,
        speaker_encoder: SpeakerEncoder,
        unit_tokenizer: UnitTokenizer | None = None,
    ):
        needed = math.ceil(segment_frames / per_video_frame(MEL_RATE))
        self.clips = read_clips(folders, split, min_frames=max(MIN_FRAMES, needed))
        self.segment_frames, self.hop_length = segment_frames, MelConfig().hop_length
        extractor = TargetExtractor(unit_tokenizer, None, speaker_encoder=speaker_encoder)
        self.targets = [extractor(clip) for clip in self.clips]
        self.speakers = [t.speaker for t in self.targets]
        self.wavs = [clip.tensors()["wav"] for clip in self.clips]
        self.groups = group_by_speaker(self.clips)

    def sample(self, count: int, rng: np.random.Generator) -> VocoderBatch:
        """Random segments, each with the speaker embedding of another clip of the same speaker."""
        chosen = rng.choice(len(self.clips), count, replace=count > len(self.clips))
        rows = [self.segment(int(i), rng) for i in chosen]
        speakers = [self.speakers[sample_other_clip(self.clips, self.groups, int(i), rng)] for i in chosen]
        wavs, mels, units = zip(*rows, strict=True)
        stacked_units = None if units[0] is None else torch.stack(units)
        return VocoderBatch(torch.stack(wavs), torch.stack(mels), torch.stack(speakers), stacked_units)

    def segment(self, i: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor | None]:
        """A random segment of F frames of one clip: wav (hop_length F,), mel (80, F), units (F / 2,)."""
        target, hop_length = self.targets[i], self.hop_length
        step = 1 if target.units is None else UNIT_RATIO  # start at a unit boundary
        start = step * int(rng.integers((target.mel.shape[1] - self.segment_frames) // step + 1))
        stop = start + self.segment_frames
        wav = self.wavs[i][start * hop_length : stop * hop_length].float() / 32768.0
        units = None if target.units is None else target.units[start // step : stop // step]
        return wav, target.mel[:, start:stop].float(), units

    def mel_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each mel band, (80,)."""
        mel = torch.cat([t.mel.float() for t in self.targets], 1)
        return mel.mean(1), mel.std(1).clamp_min(MIN_MEL_STD)


def blur_and_noise_mel(mel: Tensor, max_sigma: float, max_noise_std: float) -> Tensor:
    """Degrade mels (B, n_mels, F): a Gaussian blur and noise of random strength per item."""
    if max_sigma:
        mel = torch.cat([gaussian_blur(row[None], max_sigma * float(torch.rand(()))) for row in mel])
    if not max_noise_std:
        return mel
    return mel + max_noise_std * torch.rand(len(mel), 1, 1) * torch.randn_like(mel)


def corrupt_units(units: Tensor, max_prob: float) -> Tensor:
    """Substitute spans of units (B, N), up to a share of `max_prob`, drawn for each item.

    A substituted span repeats a neighboring one or comes from anywhere in the batch, so the unit frequencies
    stay the same.
    """
    if not max_prob:
        return units
    batch, steps = units.shape
    span = torch.arange(steps) // SPAN_UNITS
    size = (batch, int(span[-1]) + 1)
    is_wrong = torch.rand(size) < max_prob * torch.rand(batch, 1)
    from_neighbor = torch.rand(size) < NEIGHBOR_PROB
    shift = SPAN_UNITS * (2 * torch.randint(2, size) - 1)
    neighbor = torch.arange(steps) + shift[:, span]
    neighbor = torch.where((neighbor < 0) | (neighbor >= steps), neighbor - 2 * shift[:, span], neighbor)
    neighbor = neighbor.clamp(0, steps - 1) + steps * torch.arange(batch)[:, None]
    anywhere = (torch.randint(batch * steps, size)[:, span] + torch.arange(steps)) % (batch * steps)
    source = torch.where(from_neighbor[:, span], neighbor, anywhere)
    return torch.where(is_wrong[:, span], units.flatten()[source], units)
