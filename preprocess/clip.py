"""One clip: video and sound -> mouth crops, samples of exactly equal length and targets, in one safetensors
file.

It knows no corpus and no index. A clip that is there already, of the same bytes by the same recipe, is kept.
"""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from lip2speech.audio.io import read_wav
from lip2speech.constants import SAMPLE_RATE, SAMPLES_PER_FRAME, VIDEO_FPS
from lip2speech.data.dataset import MIN_FRAMES
from lip2speech.data.targets import check_audio, match_length
from lip2speech.data.utterance import Utterance
from lip2speech.video import NoFaceError
from lip2speech.video.formats import open_regular_file
from preprocess.index import IndexRow, failed_row, index_row
from preprocess.targets_config import TargetsConfig, config_fingerprint, load_extractor, target_fingerprints

_BLOCK = 1 << 20  # bytes read at once


class UnusableClip(ValueError):
    """The clip could be read and can teach nothing; trying again would not help."""


@dataclass(frozen=True)
class ClipTask:
    """One clip to prepare.

    Args:
        path: where its file goes.
        known: its row of an earlier run whose file is still there, None where there is none.
    """

    utterance: Utterance
    path: Path
    known: IndexRow | None = None


@dataclass(frozen=True)
class ClipProcessor:
    """What a worker does with a clip; whatever happens, its row says so."""

    recipe: TargetsConfig = field(default_factory=TargetsConfig)

    def __call__(self, work: ClipTask) -> IndexRow:
        utterance, known = work.utterance, work.known
        try:
            source, recipe = content_hash(utterance), config_fingerprint(self.recipe)
            if known is not None and (known.source, known.recipe) == (source, recipe):
                return known
            try:
                row = prepare_clip(utterance, work.path, self.recipe)
            except (NoFaceError, UnusableClip) as error:
                row = replace(failed_row(utterance, error), status="skipped")
            return replace(row, source=source, recipe=recipe)
        except Exception as error:  # one bad clip never stops the corpus
            return failed_row(utterance, error)


def prepare_clip(utterance: Utterance, path: Path, recipe: TargetsConfig | None = None) -> IndexRow:
    """Crops, sound and targets of one utterance, written to `path`, whole or not at all.

    Raises:
        UnusableClip: too short, or a sound that cannot belong to the picture.
        MediaError, NoFaceError: the files cannot be read, the face cannot be seen.
    """
    from lip2speech.video import load_roi

    first, last = frame_range(utterance)
    roi, report = load_roi(utterance.video, first=first, last=last)
    if len(roi) < MIN_FRAMES:
        raise UnusableClip(f"{len(roi)} frames, expected {MIN_FRAMES} at least: too short for a voice")
    wav = read_wav(utterance.wav or utterance.video, SAMPLE_RATE)
    wav = wav[first * SAMPLES_PER_FRAME : None if last is None else last * SAMPLES_PER_FRAME]
    try:
        check_audio(wav, len(roi))
        pcm = to_int16(match_length(wav, len(roi)))
        targets = extract_targets(pcm, recipe or TargetsConfig())
    except ValueError as error:
        raise UnusableClip(str(error)) from error
    save_clip(
        path,
        {"roi": torch.from_numpy(roi), "wav": pcm, **targets},
        target_fingerprints(recipe or TargetsConfig()),
    )
    row = index_row(utterance, "done")
    return replace(row, n_frames=len(roi), face_detection_rate=round(float(report.face_detection_rate), 4))


def frame_range(utterance: Utterance) -> tuple[int, int | None]:
    """The first frame of a clip within its video, and the one after its last; None: to the end."""
    last = None if utterance.end_s is None else math.ceil(utterance.end_s * VIDEO_FPS)
    return math.floor(utterance.start_s * VIDEO_FPS), last


def to_int16(wav: Tensor) -> Tensor:
    """(T_a,) float in [-1, 1] -> (T_a,) int16, clipped; what `dataset.Clip.wav` takes back."""
    return (wav * 32768.0).round().clamp(-32768, 32767).to(torch.int16)


def extract_targets(pcm: Tensor, recipe: TargetsConfig) -> dict[str, Tensor]:
    """The targets of a recipe, of the samples (640 T,) int16 as they are stored."""
    if not recipe.names():
        return {}
    maker, wav = load_extractor(recipe), pcm.float() / 32768.0
    made = {name: maker.extract(name, wav).contiguous() for name in recipe.names()}
    maker.check_lengths(made, len(pcm) // SAMPLES_PER_FRAME)
    return made


def save_clip(path: Path, tensors: dict[str, Tensor], told: dict[str, str]) -> None:
    """A safetensors file with the stamps of its targets as metadata."""
    from safetensors.torch import save

    write_atomic(path, save({name: tensor.contiguous() for name, tensor in tensors.items()}, told))


def content_hash(utterance: Utterance) -> str:
    """A digest of the bytes of video and sound, and of which part of them is the clip."""
    digest = hashlib.sha256(repr(frame_range(utterance)).encode())
    for path in (utterance.video, utterance.wav):
        if path is not None:
            with open_regular_file(path) as file:
                while block := file.read(_BLOCK):
                    digest.update(block)
                digest.update(b"end")
    return digest.hexdigest()[:32]


def write_atomic(path: Path, payload: bytes) -> None:
    """Bytes that are at `path` whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(payload)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
