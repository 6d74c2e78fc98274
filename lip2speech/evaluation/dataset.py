"""The clips of an evaluation: ground-truth audio, text, mouth crops, and other utterances of the speaker.

Clips come from a folder of prepared clips or from video files. The speaker embedding of a clip is computed
from other utterances of its speaker, as much audio as enrollment recommends, from the training split if there
are any, never from the clip itself; the selection depends only on the ids.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from lip2speech.audio.io import read_wav
from lip2speech.constants import SAMPLE_RATE
from lip2speech.data.dataset import Clip, read_clips
from lip2speech.data.utterance import Utterance
from lip2speech.models.speaker_encoder import SpeakerEncoder
from lip2speech.voices.store import RECOMMENDED_SPEECH_S

T = TypeVar("T")


class SynthesizedAudio(NamedTuple):
    """Synthesized audio of a clip.

    wav: (640 T,). compute_s: seconds of computation. latency_ms: delay behind the video.
    """

    wav: Tensor
    compute_s: float = math.nan
    latency_ms: float = math.nan


OnClip = Callable[[str, Tensor, dict[str, SynthesizedAudio]], None]
"""Called for each clip with its id, its reference (T_a,) and the audio of each system."""
Progress = Callable[[int, int], None]
"""Called with (done, total)."""


@dataclass(frozen=True)
class EvaluationItem:
    """One clip to evaluate.

    Args:
        id, split, speaker, text: as in the index of the data set.
        load_wav: returns the ground-truth audio (T_a,) at 16 kHz.
        load_roi: returns the mouth crops (T, 96, 96) uint8.
        video: the source file; None if there are only prepared crops.
    """

    id: str
    split: str
    speaker: str
    text: str
    load_wav: Callable[[], Tensor]
    load_roi: Callable[[], NDArray[Any]]
    video: Path | None = None


def prepared_items(folder: Path, split: str) -> list[EvaluationItem]:
    """The clips of `split`, and of "train" (for their voices), in a folder of prepared clips."""
    return [_prepared_item(clip) for clip in read_clips([folder], f"{split}|train")]


def _prepared_item(clip: Clip) -> EvaluationItem:
    def load_roi() -> NDArray[Any]:
        roi: NDArray[Any] = clip.tensors()["roi"].numpy()
        return roi

    return EvaluationItem(clip.id, clip.split, clip.speaker, clip.text, clip.wav, load_roi)


def video_items(utterances: Iterable[Utterance]) -> list[EvaluationItem]:
    """Clips as video files: decoded, tracked and cropped during the evaluation."""
    return [_video_item(utterance) for utterance in utterances]


def _video_item(utterance: Utterance) -> EvaluationItem:
    def load_wav() -> Tensor:
        return read_wav(utterance.wav or utterance.video, SAMPLE_RATE)

    def load_roi() -> NDArray[Any]:
        from lip2speech.video import load_roi as crop_video

        return crop_video(utterance.video)[0]

    u = utterance
    return EvaluationItem(u.id, u.split, u.speaker, u.text, load_wav, load_roi, u.video)


def select_items(
    items: Sequence[EvaluationItem], split: str, limit: int | None = None
) -> list[EvaluationItem]:
    """The items of `split` sorted by id; with a limit, an evenly spaced subset.

    Raises:
        ValueError: no item of that split, or a limit below 1.
    """
    selected = sorted((item for item in items if item.split == split), key=lambda item: item.id)
    if not selected:
        known = ", ".join(sorted({item.split for item in items})) or "no clips at all"
        raise ValueError(f"no clip of split {split!r}; there are: {known}.")
    return evenly_spaced(selected, limit)


def evenly_spaced(items: Sequence[T], limit: int | None) -> list[T]:
    """At most `limit` of the items, evenly spaced; all if None. ValueError: a limit below 1."""
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be 1 or more, got {limit}.")
    if limit is None or limit >= len(items):
        return list(items)
    return [items[i * len(items) // limit] for i in range(limit)]


def enrollment_items(item: EvaluationItem, items: Sequence[EvaluationItem]) -> list[EvaluationItem]:
    """Other utterances of the speaker of `item`, sorted by id and rotated by a hash of its id."""
    others = [other for other in items if other.speaker == item.speaker and other.id != item.id]
    others = [other for other in others if other.split == "train"] or others
    others.sort(key=lambda other: other.id)
    first = zlib.crc32(item.id.encode()) % max(1, len(others))
    return others[first:] + others[:first]


def enrollment_embedding(
    item: EvaluationItem, items: Sequence[EvaluationItem], speaker_encoder: SpeakerEncoder
) -> Tensor | None:
    """Speaker embedding (S,) of other utterances, RECOMMENDED_SPEECH_S in total; None if there are none."""
    wavs: list[Tensor] = []
    for other in enrollment_items(item, items):
        wavs.append(other.load_wav())
        if sum(map(len, wavs)) >= RECOMMENDED_SPEECH_S * SAMPLE_RATE:
            break
    return speaker_encoder.embed(torch.cat(wavs)) if wavs else None
