"""What is evaluated: clips with their true sound, text, lips and a voice, from a prepared folder or from
video files.

The voice of a clip comes from other utterances of its speaker, as long together as enrolment asks for, of the
training split where there are any, never from the clip itself; which ones depends on the ids alone.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from lip2speech.audio.io import read_wav
from lip2speech.constants import SAMPLE_RATE
from lip2speech.data.dataset import Clip, read_clips
from lip2speech.data.utterance import Utterance
from lip2speech.models.speaker_encoder import SpeakerEncoder
from lip2speech.voices.store import ENOUGH_S

T = TypeVar("T")


class SynthesizedAudio(NamedTuple):
    """A clip's sound (640 T,), the seconds of computing it took, how far it then is behind its picture."""

    wav: Tensor
    seconds: float = math.nan
    late_ms: float = math.nan


@dataclass(frozen=True)
class EvaluationItem:
    """One clip to evaluate. `video` is None where only prepared crops are there.

    Args:
        wav: gives the true sound (T_a,) at 16 kHz.
        roi: gives the crops (T, 96, 96) uint8.
    """

    id: str
    split: str
    speaker: str
    text: str
    wav: Callable[[], Tensor]
    roi: Callable[[], np.ndarray]
    video: Path | None = None


def prepared_items(folder: Path, split: str) -> list[EvaluationItem]:
    """The clips of `split` and of "train" (which lend voices) in a folder of prepared clips."""
    return [_prepared_item(clip) for clip in read_clips([folder], f"{split}|train")]


def _prepared_item(clip: Clip) -> EvaluationItem:
    def roi() -> np.ndarray:
        return clip.tensors()["roi"].numpy()

    return EvaluationItem(clip.id, clip.split, clip.speaker, clip.text, clip.wav, roi)


def video_items(utterances: Iterable[Utterance]) -> list[EvaluationItem]:
    """Clips as they come from a camera: the reader, landmarks and crops run at evaluation."""
    return [_video_item(utterance) for utterance in utterances]


def _video_item(utterance: Utterance) -> EvaluationItem:
    def wav() -> Tensor:
        return read_wav(utterance.wav or utterance.video, SAMPLE_RATE)

    def roi() -> np.ndarray:
        from lip2speech.video import load_roi

        return load_roi(utterance.video)[0]

    u = utterance
    return EvaluationItem(u.id, u.split, u.speaker, u.text, wav, roi, u.video)


def choose(items: Sequence[EvaluationItem], split: str, limit: int | None = None) -> list[EvaluationItem]:
    """The items of `split`; with a limit, evenly spread over them.

    Raises:
        ValueError: no item has that split, or the limit is below 1.
    """
    chosen = sorted((item for item in items if item.split == split), key=lambda item: item.id)
    if not chosen:
        known = ", ".join(sorted({item.split for item in items})) or "no clips at all"
        raise ValueError(f"no clip of split {split!r}; there are: {known}.")
    return spread(chosen, limit)


def spread(items: Sequence[T], limit: int | None) -> list[T]:
    """At most `limit` of the items, evenly spread; all without one. ValueError: a limit below 1."""
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be 1 or more, got {limit}.")
    if limit is None or limit >= len(items):
        return list(items)
    return [items[i * len(items) // limit] for i in range(limit)]


def enrolment(item: EvaluationItem, items: Sequence[EvaluationItem]) -> list[EvaluationItem]:
    """Other utterances of the speaker of `item`, from one on that its id decides."""
    others = [other for other in items if other.speaker == item.speaker and other.id != item.id]
    others = [other for other in others if other.split == "train"] or others
    others.sort(key=lambda other: other.id)
    first = zlib.crc32(item.id.encode()) % max(1, len(others))
    return others[first:] + others[:first]


def voice_of(
    item: EvaluationItem, items: Sequence[EvaluationItem], speakers: SpeakerEncoder
) -> Tensor | None:
    """The voice vector (S,) of as many other utterances as make `ENOUGH_S`, or None where there is none."""
    wavs: list[Tensor] = []
    for other in enrolment(item, items):
        wavs.append(other.wav())
        if sum(map(len, wavs)) >= ENOUGH_S * SAMPLE_RATE:
            break
    return speakers.embed(torch.cat(wavs)) if wavs else None
