"""What the lips are asked to predict: mel, pitch, units, codes and a voice for each prepared clip.

This is the one place where lengths are made equal: a clip of T video frames has a sound of exactly 640 T
samples, so its mel and its pitch have 4T, its units 2T and its codes rT steps, or the clip is refused here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lip2speech import checkpoint
from lip2speech.codec.base import Codec
from lip2speech.data.dataset import Clip
from lip2speech.mel import LogMel, MelConfig
from lip2speech.pitch import pitch_contour
from lip2speech.rates import SAMPLE_RATE, VIDEO_FPS
from lip2speech.speaker import SpeakerModel, Spectrum

SAMPLES_PER_FRAME = SAMPLE_RATE // VIDEO_FPS
N_MFCC = 13
ALPHABET = "abcdefghijklmnopqrstuvwxyz' "  # what `spell` writes; 0 is the blank of CTC


@dataclass(frozen=True)
class Targets:
    """Targets of one clip of T frames."""

    mel: Tensor  # (80, 4T) float16
    units: Tensor | None  # (2T,) int64
    codes: Tensor | None  # (n_q, rT) int64
    speaker: Tensor  # (S,) float32
    text: Tensor | None = None  # (N,) int64, one number a letter
    pitch: Tensor | None = None  # (2, 4T) float32, see `pitch.pitch_contour`


class UnitTeacher:
    """Units by nearest centroid on MFCC with first and second differences (as HuBERT's first iteration).

    Hsu et al. 2021, section II-B. Centroids and recipe lie in a folder written by `lip2speech train kmeans`.
    """

    def __init__(self, centroids: Tensor, mean: Tensor, std: Tensor):
        self.centroids, self.mean, self.std = centroids, mean, std

    @classmethod
    def load(cls, folder: str | Path) -> UnitTeacher:
        """Read a folder written by `lip2speech train kmeans`; ValueError when it holds another recipe."""
        loaded = checkpoint.load(folder)
        if loaded.config.get("kind") != "kmeans-mfcc":
            raise ValueError(f"{folder} holds {loaded.config.get('kind')!r}, expected kmeans-mfcc units.")
        t = loaded.tensors
        return cls(t["centroids"], t["mean"], t["std"])

    def __call__(self, mel: Tensor) -> Tensor:
        """Log-mel (80, 4T) -> units (2T,) int64."""
        features = (unit_features(mel) - self.mean) / self.std
        return torch.cdist(features, self.centroids).argmin(1)


def unit_features(mel: Tensor) -> Tensor:
    """Log-mel (80, 4T) -> MFCC, differences and second differences at 50 Hz (2T, 39)."""
    cosine = torch.cos(torch.pi / 80 * torch.outer(torch.arange(N_MFCC).float(), torch.arange(80) + 0.5))
    cepstra = cosine @ mel.float() / 80
    slope = torch.gradient(cepstra, dim=1)[0]
    stacked = torch.cat([cepstra, slope, torch.gradient(slope, dim=1)[0]])  # (39, 4T)
    return stacked.unflatten(1, (-1, 2)).mean(2).T


def spell(text: str) -> Tensor:
    """What is said as numbers from 1 on, one a letter of `ALPHABET`, (N,) int64; other signs are left out."""
    return torch.tensor([ALPHABET.index(c) + 1 for c in text.lower() if c in ALPHABET], dtype=torch.long)


class TargetMaker:
    """Makes `Targets` with the shared mel recipe, a unit teacher and a codec (or None); pitch when asked.

    Args:
        speakers: what hears whose voice it is; the long-term spectrum when None.
    """

    def __init__(
        self,
        units: UnitTeacher | None,
        codec: Codec | None,
        *,
        pitch: bool = False,
        speakers: SpeakerModel | None = None,
    ):
        self.mel, self.units, self.codec, self.pitch = LogMel(MelConfig()), units, codec, pitch
        self.speakers = speakers or Spectrum()
        if codec is not None and codec.sample_rate != SAMPLE_RATE:
            raise ValueError(f"clips are at {SAMPLE_RATE} Hz, the codec wants {codec.sample_rate} Hz.")

    @torch.no_grad()
    def __call__(self, clip: Clip) -> Targets:
        wav = self.read(clip)
        mel = self.mel(wav[None, None])[0]
        units = self.units(mel) if self.units else None
        codes = self.codec.encode(wav[None, None])[0] if self.codec else None
        pitch = pitch_contour(wav) if self.pitch else None
        try:
            speaker = self.speakers.embed(wav)
        except ValueError as error:
            raise ValueError(f"{clip.id}: {error}") from None
        return Targets(mel.half(), units, codes, speaker, spell(clip.text), pitch)

    def read(self, clip: Clip) -> Tensor:
        """The clip's sound (640 T,), after a look at its lengths."""
        tensors = clip.tensors()
        samples, frames = tensors["wav"].numel(), len(tensors["roi"])
        if (samples, frames) != (clip.n_frames * SAMPLES_PER_FRAME, clip.n_frames):
            raise ValueError(
                f"{clip.id}: {frames} crops and {samples} samples, expected {clip.n_frames} and "
                f"{clip.n_frames * SAMPLES_PER_FRAME}; prepare the clip again."
            )
        return tensors["wav"].float() / 32768.0


def make_targets(clips: Iterable[Clip], maker: TargetMaker) -> list[Targets]:
    """Targets of every clip, in order."""
    return [maker(clip) for clip in clips]
