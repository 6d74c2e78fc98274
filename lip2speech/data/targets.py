"""Training targets of prepared clips: mel, pitch, units, codes, speaker embedding and text.

This is the one place where lengths are made equal: `check_audio` and `match_length` give T video frames
exactly 640 T samples, so mel and pitch have 4T, units 2T and codes rT steps, or the clip is rejected.
Precomputed targets are used where their fingerprint is that of our own extractor.
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
from lip2speech.data.unit_tokenizers import UnitTokenizer, require_rate
from lip2speech.data.unit_tokenizers.base import device_of
from lip2speech.models.speaker_encoder import LTASSpeakerEncoder, SpeakerEncoder

# Audio much shorter or longer than its video belongs to another cut. AV-HuBERT's own crops carry up to 60 ms
# too much (a codec frame); GRID's audio ends 20 ms early.
MAX_EXCESS_S = 0.25
MAX_EXCESS_RATIO = 0.1
ALPHABET = "abcdefghijklmnopqrstuvwxyz' "
"""Characters of `encode_text`; 0 is the CTC blank."""


@dataclass(frozen=True)
class Targets:
    """Targets of one clip of T video frames."""

    mel: Tensor  # (80, 4T) float16
    units: Tensor | None  # (2T,) int64
    codes: Tensor | None  # (n_q, rT) int64
    speaker: Tensor  # (S,) float32
    text: Tensor | None = None  # (N,) int64
    pitch: Tensor | None = None  # (2, 4T) float32, see `pitch.pitch_contour`


def encode_text(text: str) -> Tensor:
    """Transcript -> character ids from 1 on in `ALPHABET`, (N,) int64; other characters are dropped."""
    return torch.tensor([ALPHABET.index(c) + 1 for c in text.lower() if c in ALPHABET], dtype=torch.long)


def check_audio(wav: Tensor, n_frames: int) -> None:
    """Raise ValueError if audio (T_a,) at 16 kHz cannot be the target of `n_frames` video frames."""
    if not torch.isfinite(wav).all():
        raise ValueError(
            "the audio has samples that are NaN or infinite; expected finite samples: record it again"
        )
    if not wav.any():
        raise ValueError(
            "the audio is silent from start to end; expected speech: leave the clip out or add its audio"
        )
    audio_s, video_s = len(wav) / SAMPLE_RATE, n_frames / VIDEO_FPS
    if abs(audio_s - video_s) > max(MAX_EXCESS_S, MAX_EXCESS_RATIO * video_s):
        raise ValueError(
            f"the audio lasts {audio_s:.2f} s and the video {video_s:.2f} s; expected equal durations"
        )


def match_length(wav: Tensor, n_frames: int) -> Tensor:
    """(T_a,) -> (640 n_frames,): truncated, or padded with zeros at the end."""
    n_samples = n_frames * SAMPLES_PER_FRAME
    return torch.nn.functional.pad(wav[:n_samples], (0, max(0, n_samples - len(wav))))


class TargetExtractor:
    """Extracts `Targets`; they are on the CPU, wherever codec and tokenizer compute.

    Args:
        unit_tokenizer: Extracts units at 50 Hz, if given.
        codec: Extracts codes, if given.
        pitch: Whether to extract pitch.
        speaker_encoder: Extracts speaker embeddings; None for the long-term average spectrum.

    Attributes:
        extractors: Target name -> function of audio (640 T,).
        fingerprints: Name of a target that can be precomputed -> fingerprint of its extractor.
        steps_per_frame: Name of a target that is a sequence -> its steps per video frame.

    Raises:
        ValueError: The units or the codec have another rate.
    """

    def __init__(
        self,
        unit_tokenizer: UnitTokenizer | None,
        codec: Codec | None,
        *,
        pitch: bool = False,
        speaker_encoder: SpeakerEncoder | None = None,
    ):
        self.mel, self.unit_tokenizer, self.codec = LogMel(MelConfig()), unit_tokenizer, codec
        self.speaker_encoder = speaker_encoder or LTASSpeakerEncoder()
        require_rate(unit_tokenizer, UNIT_RATE)
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
            self.extractors["pitch"] = pitch_contour
            self.steps_per_frame["pitch"] = per_video_frame(MEL_RATE)
        if unit_tokenizer is not None:
            self.extractors["units"] = unit_tokenizer
            self.fingerprints["units"] = unit_tokenizer.fingerprint
            self.steps_per_frame["units"] = per_video_frame(UNIT_RATE)
        if codec is not None:
            self._add_codec(codec)

    def _add_codec(self, codec: Codec) -> None:
        if codec.sample_rate != SAMPLE_RATE:
            raise ValueError(f"clips are at {SAMPLE_RATE} Hz, the codec is at {codec.sample_rate} Hz.")
        device = device_of(codec)
        self.extractors["codes"] = lambda wav: codec.encode(wav[None, None].to(device))[0].cpu()
        self.fingerprints["codes"] = code_fingerprint(codec)
        self.steps_per_frame["codes"] = per_video_frame(codec.frame_rate)

    def __call__(self, clip: Clip) -> Targets:
        """The targets of a clip; precomputed ones are used where their fingerprint matches."""
        tensors, stored = clip.tensors(), clip.fingerprints()
        wav = clip_wav(clip, tensors)
        valid = {name for name, fingerprint in self.fingerprints.items() if stored.get(name) == fingerprint}
        try:
            targets = {
                name: tensors[name] if name in valid and name in tensors else self.extract(name, wav)
                for name in self.extractors
            }
            self.check_lengths(targets, clip.n_frames)
        except ValueError as error:
            raise ValueError(f"{clip.id}: {error}") from None
        return Targets(
            mel=targets["mel"],
            units=targets.get("units"),
            codes=targets.get("codes"),
            speaker=targets["speaker"],
            text=encode_text(clip.text),
            pitch=targets.get("pitch"),
        )

    @torch.no_grad()
    def extract(self, name: str, wav: Tensor) -> Tensor:
        """One target of audio (640 T,)."""
        return self.extractors[name](wav)

    def check_lengths(self, targets: Mapping[str, Tensor], n_frames: int) -> None:
        """Raise ValueError if a target (..., steps) does not have the steps of `n_frames` video frames."""
        for name, per_frame in self.steps_per_frame.items():
            if name in targets and targets[name].shape[-1] != per_frame * n_frames:
                raise ValueError(
                    f"its {name} have {targets[name].shape[-1]} steps, expected {per_frame * n_frames}; "
                    "prepare the clip again."
                )


def clip_wav(clip: Clip, tensors: Mapping[str, Tensor]) -> Tensor:
    """Audio (640 T,) of a clip's tensors. ValueError: audio or crops do not have the clip's length."""
    samples, frames = tensors["wav"].numel(), len(tensors["roi"])
    if (samples, frames) != (clip.n_frames * SAMPLES_PER_FRAME, clip.n_frames):
        raise ValueError(
            f"{clip.id}: {frames} crops and {samples} samples, expected {clip.n_frames} and "
            f"{clip.n_frames * SAMPLES_PER_FRAME}; prepare the clip again."
        )
    return tensors["wav"].float() / 32768.0


def mel_fingerprint(config: MelConfig) -> str:
    """Equal for two configs that give the same mel."""
    return hashlib.sha256(json.dumps(to_dict(config), sort_keys=True).encode()).hexdigest()[:16]


def extract_targets(clips: Iterable[Clip], extractor: TargetExtractor) -> list[Targets]:
    """Targets of every clip, in order."""
    return [extractor(clip) for clip in clips]
