"""What the lips are asked to predict: mel, pitch, units, codes and a voice for each prepared clip.

This is the one place where lengths are made equal: a clip of T video frames has a sound of exactly 640 T
samples, so its mel and its pitch have 4T, its units 2T and its codes rT steps, or the clip is refused here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from lip2speech.codec.base import Codec
from lip2speech.data.dataset import Clip
from lip2speech.data.units import UnitTeacher, check_rate
from lip2speech.heads import UNIT_RATE
from lip2speech.mel import LogMel, MelConfig
from lip2speech.pitch import pitch_contour
from lip2speech.rates import SAMPLE_RATE, VIDEO_FPS
from lip2speech.speaker import SpeakerModel, Spectrum

SAMPLES_PER_FRAME = SAMPLE_RATE // VIDEO_FPS
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
        check_rate(units, UNIT_RATE)
        if codec is not None and codec.sample_rate != SAMPLE_RATE:
            raise ValueError(f"clips are at {SAMPLE_RATE} Hz, the codec wants {codec.sample_rate} Hz.")

    @torch.no_grad()
    def __call__(self, clip: Clip) -> Targets:
        wav = self.read(clip)
        mel = self.mel(wav[None, None])[0]
        units = self.units(wav) if self.units else None
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
