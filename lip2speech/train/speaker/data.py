"""Mels of clips by speaker, and their augmentation."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lip2speech.audio.mel import LogMel
from lip2speech.data.dataset import Clip


class SpeakerClips:
    """Mels (80, T) of clips in memory, grouped by speaker.

    Attributes:
        names: speakers, sorted; labels are indices into it.
    """

    def __init__(self, clips: Sequence[Clip]):
        self.names = sorted({speaker_key(clip) for clip in clips})
        mel = LogMel()
        index = {name: i for i, name in enumerate(self.names)}
        self.mels = [mel(clip.wav()[None, None])[0].half() for clip in clips]
        self.labels = torch.tensor([index[speaker_key(clip)] for clip in clips])
        self.clips_of = [torch.nonzero(self.labels == i)[:, 0].tolist() for i in range(len(self.names))]

    def sample(self, count: int, frames: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Mels (count, 80, frames) of random speakers, and their labels (count,)."""
        speakers = rng.choice(len(self.names), count, replace=count > len(self.names))
        rows = [self.crop(int(rng.choice(self.clips_of[s])), frames, rng) for s in speakers]
        return torch.stack(rows), torch.from_numpy(speakers)

    def crop(self, i: int, frames: int, rng: np.random.Generator) -> Tensor:
        """A random segment (80, frames) of a clip; a shorter clip is repeated."""
        mel: Tensor = self.mels[i].float()
        if mel.shape[1] < frames:
            mel = mel.repeat(1, math.ceil(frames / mel.shape[1]))
        start = int(rng.integers(mel.shape[1] - frames + 1))
        return mel[:, start : start + frames]


def speaker_key(clip: Clip) -> str:
    """A speaker's name, unique among several corpora."""
    return f"{clip.folder.name}/{clip.speaker}"


def is_held_out(name: str, one_in: int) -> bool:
    """Whether a speaker is for validation; does not depend on the other speakers."""
    return zlib.crc32(name.encode()) % one_in == 0


def augment(mel: Tensor, tilt: float, floor: float) -> Tensor:
    """Simulate microphones and rooms on log-mels (B, 80, T).

    Args:
        mel: (B, 80, T).
        tilt: largest spectral slope, in nats between the lowest and the highest band.
        floor: stationary noise of random slope is added at this to three times this many nats below the
            maximum.
    """
    batch, bands = mel.shape[:2]
    slope = torch.linspace(-0.5, 0.5, bands)[None, :, None]
    mel = mel + slope * (torch.rand(batch, 1, 1) * 2 - 1) * tilt
    level = mel.amax((1, 2), keepdim=True) - floor * (1 + 2 * torch.rand(batch, 1, 1))
    noise = level + slope * (torch.rand(batch, 1, 1) * 2 - 1) * 2 * tilt + 0.3 * torch.randn_like(mel)
    return torch.logaddexp(2 * mel, 2 * noise) / 2
