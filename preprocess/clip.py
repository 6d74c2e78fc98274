"""One clip: video and audio -> mouth crops, audio of exactly the same length and targets, in one safetensors
file.

Independent of corpus and index. An existing clip of the same bytes and the same config is kept.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from lip2speech.audio.io import read_wav
from lip2speech.constants import SAMPLE_RATE, SAMPLES_PER_FRAME, VIDEO_FPS
from lip2speech.data.dataset import MIN_FRAMES
from lip2speech.data.targets import check_audio, match_length
from lip2speech.data.utterance import Utterance
from lip2speech.utils.files import atomic_write
from lip2speech.video import NoFaceError
from lip2speech.video.formats import open_regular_file
from preprocess.index import IndexRow, failed_row, index_row
from preprocess.targets_config import TargetsConfig, config_fingerprint, load_extractor, target_fingerprints

_BLOCK_BYTES = 1 << 20


class UnusableClipError(ValueError):
    """The clip is readable but cannot be trained on; retrying would not help."""


@dataclass(frozen=True)
class ClipTask:
    """One clip to prepare.

    Args:
        utterance: The clip in the corpus.
        path: The file to write.
        previous_row: Its row of an earlier run, if its file still exists.
    """

    utterance: Utterance
    path: Path
    previous_row: IndexRow | None = None


@dataclass(frozen=True)
class ClipProcessor:
    """What a worker does with a clip; errors become a row.

    Args:
        targets: The targets to precompute.
    """

    targets: TargetsConfig = field(default_factory=TargetsConfig)

    def __call__(self, task: ClipTask) -> IndexRow:
        """Prepare one clip, or return its previous row if nothing has changed."""
        utterance, previous = task.utterance, task.previous_row
        try:
            source, config = content_hash(utterance), config_fingerprint(self.targets)
            if previous is not None and (previous.source_hash, previous.config_hash) == (source, config):
                return previous
            try:
                row = prepare_clip(utterance, task.path, self.targets)
            except (NoFaceError, UnusableClipError) as error:
                row = replace(failed_row(utterance, error), status="skipped")
            return replace(row, source_hash=source, config_hash=config)
        except Exception as error:  # one bad clip must not stop the corpus
            return failed_row(utterance, error)


def prepare_clip(utterance: Utterance, path: Path, targets: TargetsConfig | None = None) -> IndexRow:
    """Write crops, audio and targets of one utterance to `path`, atomically.

    Raises:
        UnusableClipError: Too short, or the audio cannot belong to the video.
        MediaError: The files cannot be read.
        NoFaceError: No face was detected.
    """
    from lip2speech.video import load_roi

    config = targets or TargetsConfig()
    first, last = frame_range(utterance)
    roi, report = load_roi(utterance.video, first=first, last=last)
    if len(roi) < MIN_FRAMES:
        raise UnusableClipError(
            f"{len(roi)} frames, expected at least {MIN_FRAMES}: too short for a speaker embedding"
        )
    wav = read_wav(utterance.wav or utterance.video, SAMPLE_RATE)
    wav = wav[first * SAMPLES_PER_FRAME : None if last is None else last * SAMPLES_PER_FRAME]
    try:
        check_audio(wav, len(roi))
        pcm = to_int16(match_length(wav, len(roi)))
        tensors = extract_targets(pcm, config)
    except ValueError as error:
        raise UnusableClipError(str(error)) from error
    save_clip(path, {"roi": torch.from_numpy(roi), "wav": pcm, **tensors}, target_fingerprints(config))
    row = index_row(utterance, "done")
    return replace(row, n_frames=len(roi), face_detection_rate=round(float(report.face_detection_rate), 4))


def frame_range(utterance: Utterance) -> tuple[int, int | None]:
    """First frame of a clip in its video, and the frame after its last one (None: end of the video)."""
    last = None if utterance.end_s is None else math.ceil(utterance.end_s * VIDEO_FPS)
    return math.floor(utterance.start_s * VIDEO_FPS), last


def to_int16(wav: Tensor) -> Tensor:
    """(T_a,) float in [-1, 1] -> (T_a,) int16, clipped; inverse of `dataset.Clip.wav`."""
    return (wav * 32768.0).round().clamp(-32768, 32767).to(torch.int16)


def extract_targets(pcm: Tensor, config: TargetsConfig) -> dict[str, Tensor]:
    """The configured targets of the stored samples (640 T,) int16."""
    if not config.names():
        return {}
    extractor, wav = load_extractor(config), pcm.float() / 32768.0
    targets = {name: extractor.extract(name, wav).contiguous() for name in config.names()}
    extractor.check_lengths(targets, len(pcm) // SAMPLES_PER_FRAME)
    return targets


def save_clip(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file, with the fingerprints of its targets as metadata, atomically."""
    from safetensors.torch import save

    payload = save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_bytes(payload)


def content_hash(utterance: Utterance) -> str:
    """Hash of the bytes of video and audio, and of the clip's frame range in them."""
    digest = hashlib.sha256(repr(frame_range(utterance)).encode())
    for kind, path in (("video", utterance.video), ("audio", utterance.wav)):
        if path is not None:
            with open_regular_file(path, kind) as file:
                while block := file.read(_BLOCK_BYTES):
                    digest.update(block)
                digest.update(b"end")
    return digest.hexdigest()[:32]
