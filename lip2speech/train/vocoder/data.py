"""What every vocoder learns from: segments of prepared clips, made as poor as what lips predict.

Mels of real sound are sharp and units of real sound are right; those that lips predict are blurred, noisy and
often wrong. A vocoder that never met such inputs makes them hoarse, so here they are made alike. Segments
begin in mid-speech, yet what was before them is silence to a network, as at a clip's beginning.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lip2speech.audio.mel import MelConfig
from lip2speech.constants import MEL_RATE, UNIT_RATE, per_video_frame
from lip2speech.data.dataset import MIN_FRAMES, group_by_speaker, read_clips, sample_other_clip
from lip2speech.data.targets import TargetExtractor
from lip2speech.data.unit_tokenizers import UnitTokenizer
from lip2speech.models.speaker_encoder import SpeakerEncoder
from lip2speech.train.core.micro_batch import MicroBatch

UNIT_RATIO = MEL_RATE // UNIT_RATE  # mel frames for each unit
MIN_STD = 1e-2  # nats; a mel band that never changes must not be divided by nothing
STRETCH = 4
"""Units that are swapped together: 80 ms, about a phone. Lips mistake whole phones, and a single wrong unit
between right ones would be no riddle."""
NEARBY = 0.5
"""Share of swapped stretches that take the place of the stretch beside them: said too early or too late."""


@dataclass(frozen=True)
class VocoderBatch:
    """wav (B, T_a), mel (B, 80, F), speaker (B, S) of other clips, units (B, F / 2) where they are taught."""

    wav: Tensor
    mel: Tensor
    speaker: Tensor
    units: Tensor | None = None

    def of(self, micro_batch: MicroBatch) -> VocoderBatch:
        """A part's share of segments drawn for a whole batch."""
        units = None if self.units is None else micro_batch.shard(self.units)
        return VocoderBatch(
            micro_batch.shard(self.wav), micro_batch.shard(self.mel), micro_batch.shard(self.speaker), units
        )

    def single(self) -> Iterator[VocoderBatch]:
        """One after the other, B = 1."""
        for i in range(len(self.wav)):
            units = None if self.units is None else self.units[i : i + 1]
            yield VocoderBatch(self.wav[i : i + 1], self.mel[i : i + 1], self.speaker[i : i + 1], units)


class VocoderDataset:
    """Sound, mel, units and voice of all clips of a split that are long enough for a segment, in memory.

    Args:
        frames: of mel that a segment has; an even number where there are units.
        units: what gives the sound its units; None: they are not taught.
    """

    def __init__(
        self,
        folders: tuple[str, ...],
        split: str,
        frames: int,
        speaker_encoder: SpeakerEncoder,
        units: UnitTokenizer | None = None,
    ):
        needed = math.ceil(frames / per_video_frame(MEL_RATE))
        self.clips = read_clips(folders, split, min_frames=max(MIN_FRAMES, needed))
        self.frames, self.hop_length = frames, MelConfig().hop_length
        maker = TargetExtractor(units, None, speaker_encoder=speaker_encoder)
        self.targets = [maker(clip) for clip in self.clips]
        self.voices = [t.speaker for t in self.targets]
        self.wavs = [clip.tensors()["wav"] for clip in self.clips]
        self.groups = group_by_speaker(self.clips)

    def draw(self, count: int, rng: np.random.Generator) -> VocoderBatch:
        """Random segments, each told the voice of another clip."""
        chosen = rng.choice(len(self.clips), count, replace=count > len(self.clips))
        rows = [self.segment(int(i), rng) for i in chosen]
        voices = [self.voices[sample_other_clip(self.clips, self.groups, int(i), rng)] for i in chosen]
        wavs, mels, units = zip(*rows, strict=True)
        taught = None if units[0] is None else torch.stack(units)
        return VocoderBatch(torch.stack(wavs), torch.stack(mels), torch.stack(voices), taught)

    def segment(self, i: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor | None]:
        """A random stretch of one clip: wav (hop_length * frames,), mel (80, frames), units (frames / 2,)."""
        target, hop_length = self.targets[i], self.hop_length
        step = 1 if target.units is None else UNIT_RATIO  # a unit is not cut in two
        start = step * int(rng.integers((target.mel.shape[1] - self.frames) // step + 1))
        stop = start + self.frames
        wav = self.wavs[i][start * hop_length : stop * hop_length].float() / 32768.0
        units = None if target.units is None else target.units[start // step : stop // step]
        return wav, target.mel[:, start:stop].float(), units

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each mel band, (80,)."""
        mel = torch.cat([t.mel.float() for t in self.targets], 1)
        return mel.mean(1), mel.std(1).clamp_min(MIN_STD)


def smear(mel: Tensor, blur: float, noise: float) -> Tensor:
    """Mels (B, n_mels, F) as lips predict them: each blurred up to `blur`, with noise up to `noise`."""
    if blur:
        rows = [gaussian(row, blur * float(torch.rand(()))) for row in mel]
        mel = torch.stack(rows)
    return mel + noise * torch.rand(len(mel), 1, 1) * torch.randn_like(mel) if noise else mel


def gaussian(mel: Tensor, deviation: float) -> Tensor:
    """(n_mels, F) blurred over bands and frames alike; its edges go on as they are."""
    reach = math.ceil(3 * deviation)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / max(deviation, 1e-3)) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(mel[None, None], (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel[None, None, :, None]), kernel[None, None, None])[0, 0]


def swap(units: Tensor, share: float) -> Tensor:
    """Units (B, N) as lips predict them: of each row up to `share` of its stretches are not what was said.

    A wrong stretch says what stands beside it, or what is said anywhere else in the batch, so that units
    are as frequent as before.
    """
    if not share:
        return units
    batch, steps = units.shape
    stretch = torch.arange(steps) // STRETCH
    size = (batch, int(stretch[-1]) + 1)
    wrong = torch.rand(size) < share * torch.rand(batch, 1)
    nearby = torch.rand(size) < NEARBY
    beside = STRETCH * (2 * torch.randint(2, size) - 1)
    places = torch.arange(steps) + beside[:, stretch]
    places = torch.where((places < 0) | (places >= steps), places - 2 * beside[:, stretch], places)
    places = places.clamp(0, steps - 1) + steps * torch.arange(batch)[:, None]
    elsewhere = (torch.randint(batch * steps, size)[:, stretch] + torch.arange(steps)) % (batch * steps)
    taken = torch.where(nearby[:, stretch], places, elsewhere)
    return torch.where(wrong[:, stretch], units.flatten()[taken], units)
