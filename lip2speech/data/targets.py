"""What the lips are asked to predict: mel, pitch, units, codes and a voice for each prepared clip.

This is the one place where lengths are made equal: `check_audio` and `match_length` give a picture of T frames a
sound of exactly 640 T samples, so its mel and its pitch have 4T, its units 2T and its codes rT steps, or the
clip is refused here. What was stored with a clip is taken where its stamp is that of our own teacher.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lip2speech.audio.mel import LogMel, MelConfig
from lip2speech.audio.pitch import pitch_contour
from lip2speech.codecs import code_fingerprint
from lip2speech.codecs.base import Codec
from lip2speech.config import to_dict
from lip2speech.constants import (
    MEL_RATE,
    SAMPLE_RATE,
    SAMPLES_PER_FRAME,
    UNIT_RATE,
    VIDEO_FPS,
    per_video_frame,
)
from lip2speech.data.dataset import Clip
from lip2speech.data.unit_tokenizers import UnitTokenizer, device_of, require_rate
from lip2speech.models.speaker_encoder import LTASSpeakerEncoder, SpeakerEncoder

# A sound much shorter or longer than its picture belongs to another cut. AV-HuBERT's own crops carry up to
# 60 ms too much (a codec frame); GRID's sound ends 20 ms early.
MAX_EXCESS_S = 0.25
MAX_EXCESS_RATIO = 0.1
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


def encode_text(text: str) -> Tensor:
    """What is said as numbers from 1 on, one a letter of `ALPHABET`, (N,) int64; other signs are left out."""
    return torch.tensor([ALPHABET.index(c) + 1 for c in text.lower() if c in ALPHABET], dtype=torch.long)


def check_audio(wav: Tensor, n_frames: int) -> None:
    """ValueError where a sound (T_a,) at 16 kHz cannot be the target of a picture of `n_frames`."""
    if not torch.isfinite(wav).all():
        raise ValueError(
            "the sound holds samples that are not numbers; expected finite samples: record it anew"
        )
    if not wav.any():
        raise ValueError(
            "the sound is silent from end to end; expected speech: leave the clip out or add its sound"
        )
    sound_s, picture_s = len(wav) / SAMPLE_RATE, n_frames / VIDEO_FPS
    if abs(sound_s - picture_s) > max(MAX_EXCESS_S, MAX_EXCESS_RATIO * picture_s):
        raise ValueError(
            f"the sound lasts {sound_s:.2f} s and the picture {picture_s:.2f} s; expected equal lengths"
        )


def match_length(wav: Tensor, n_frames: int) -> Tensor:
    """(T_a,) -> (640 n_frames,): cut, or followed by silence; a true sound may end beside its last frame."""
    n_samples = n_frames * SAMPLES_PER_FRAME
    return torch.nn.functional.pad(wav[:n_samples], (0, max(0, n_samples - len(wav))))


class TargetExtractor:
    """Makes `Targets` with the shared mel recipe, a unit teacher and a codec (or None); pitch when asked.

    Targets are on the CPU, wherever codec and teacher compute.

    Args:
        speaker_encoder: what hears whose voice it is; the long-term spectrum when None.

    Attributes:
        makers: name of a target -> what makes it of a sound (640 T,).
        stamps: name of a target that can be stored -> the fingerprint of what makes it.
        clocks: name of a target that goes on in time -> its steps in a video frame.
    """

    def __init__(
        self,
        units: UnitTokenizer | None,
        codec: Codec | None,
        *,
        pitch: bool = False,
        speaker_encoder: SpeakerEncoder | None = None,
    ):
        self.mel, self.units, self.codec = LogMel(MelConfig()), units, codec
        self.speaker_encoder = speaker_encoder or LTASSpeakerEncoder()
        require_rate(units, UNIT_RATE)
        self.extractors: dict[str, Callable[[Tensor], Tensor]] = {
            "mel": lambda wav: self.mel(wav[None, None])[0].half(),
            "speaker": self.speaker_encoder.embed,
        }
        self.fingerprints = {
            "mel": mel_fingerprint(self.mel.config),
            "speaker": self.speaker_encoder.fingerprint,
        }
        self.steps_per_frame = {"mel": per_video_frame(MEL_RATE)}
        if pitch:
            self.extractors["pitch"], self.steps_per_frame["pitch"] = pitch_contour, per_video_frame(MEL_RATE)
        if units is not None:
            self.extractors["units"], self.fingerprints["units"] = units, units.fingerprint
            self.steps_per_frame["units"] = per_video_frame(UNIT_RATE)
        if codec is not None:
            if codec.sample_rate != SAMPLE_RATE:
                raise ValueError(f"clips are at {SAMPLE_RATE} Hz, the codec wants {codec.sample_rate} Hz.")
            device = device_of(codec)
            self.extractors["codes"] = lambda wav: codec.encode(wav[None, None].to(device))[0].cpu()
            self.fingerprints["codes"] = code_fingerprint(codec)
            self.steps_per_frame["codes"] = per_video_frame(codec.frame_rate)

    def __call__(self, clip: Clip) -> Targets:
        """The targets of a clip; what it brings along is not made again where its stamp fits."""
        tensors, stamps = clip.tensors(), clip.fingerprints()
        wav = clip_wav(clip, tensors)
        fits = {name for name, stamp in self.fingerprints.items() if stamps.get(name) == stamp}
        held = {name: tensors[name] for name in fits if name in tensors}
        try:
            made = {name: held[name] if name in held else self.extract(name, wav) for name in self.extractors}
            self.check_lengths(made, clip.n_frames)
        except ValueError as error:
            raise ValueError(f"{clip.id}: {error}") from None
        return Targets(
            mel=made["mel"],
            units=made.get("units"),
            codes=made.get("codes"),
            speaker=made["speaker"],
            text=encode_text(clip.text),
            pitch=made.get("pitch"),
        )

    @torch.no_grad()
    def extract(self, name: str, wav: Tensor) -> Tensor:
        """One target of a sound (640 T,)."""
        return self.extractors[name](wav)

    def check_lengths(self, targets: Mapping[str, Tensor], n_frames: int) -> None:
        """ValueError where a target (..., steps) has not the steps of `n_frames`."""
        for name, per_frame in self.steps_per_frame.items():
            if name in targets and targets[name].shape[-1] != per_frame * n_frames:
                raise ValueError(
                    f"its {name} have {targets[name].shape[-1]} steps, expected {per_frame * n_frames}; "
                    "prepare the clip again."
                )


def clip_wav(clip: Clip, tensors: Mapping[str, Tensor]) -> Tensor:
    """The clip's sound (640 T,) from its tensors. ValueError: it or the crops have not the clip's length."""
    samples, frames = tensors["wav"].numel(), len(tensors["roi"])
    if (samples, frames) != (clip.n_frames * SAMPLES_PER_FRAME, clip.n_frames):
        raise ValueError(
            f"{clip.id}: {frames} crops and {samples} samples, expected {clip.n_frames} and "
            f"{clip.n_frames * SAMPLES_PER_FRAME}; prepare the clip again."
        )
    return tensors["wav"].float() / 32768.0


def mel_fingerprint(config: MelConfig) -> str:
    """The same for two recipes that give the same mel."""
    return hashlib.sha256(json.dumps(to_dict(config), sort_keys=True).encode()).hexdigest()[:16]


def extract_targets(clips: Iterable[Clip], maker: TargetExtractor) -> list[Targets]:
    """Targets of every clip, in order."""
    return [maker(clip) for clip in clips]
