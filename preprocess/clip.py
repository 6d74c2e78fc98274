"""One clip: video and sound -> mouth crops and samples of exactly equal length, written as one safetensors
file.

This is the one place where sound is cut or padded to the picture. It knows no corpus and no index.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from lip2speech.data.corpus import Utterance
from lip2speech.rates import SAMPLE_RATE, VIDEO_FPS, per_video_frame
from preprocess.index import Row, check_id

# A sound much shorter or longer than its picture belongs to another cut. AV-HuBERT's own crops carry up to
# 60 ms too much (a codec frame); GRID's sound ends 20 ms early.
_MOST_EXCESS_S = 0.25
_MOST_EXCESS_SHARE = 0.1


def fit_wav(wav: np.ndarray, n_frames: int) -> np.ndarray:
    """Sound as long as its picture.

    Shape:
        wav (T_a,) float in [-1, 1] -> (n_frames * 640,) int16, cut or padded with zeros at the end.
    """
    n_samples = n_frames * per_video_frame(SAMPLE_RATE)
    fitted = np.zeros(n_samples, dtype=np.int16)
    part = np.clip(np.round(wav[:n_samples] * 32768.0), -32768, 32767)
    fitted[: len(part)] = part.astype(np.int16)
    return fitted


def check_sound(wav: np.ndarray, n_frames: int) -> None:
    """Raises ValueError where the sound cannot be the target of this picture."""
    if not np.isfinite(wav).all():
        raise ValueError(
            "the sound holds samples that are not numbers; expected finite samples: record it anew"
        )
    if not wav.any():
        raise ValueError(
            "the sound is silent from end to end; expected speech: leave the clip out or add its sound"
        )
    sound_s, picture_s = len(wav) / SAMPLE_RATE, n_frames / VIDEO_FPS
    if abs(sound_s - picture_s) > max(_MOST_EXCESS_S, _MOST_EXCESS_SHARE * picture_s):
        raise ValueError(
            f"the sound lasts {sound_s:.2f} s and the picture {picture_s:.2f} s; expected equal lengths"
        )


def prepare_clip(utterance: Utterance, path: Path) -> Row:
    """Crops and sound of one utterance, written to `path` under a temporary name and renamed when whole."""
    from safetensors.numpy import save

    from lip2speech.audio import read_wav
    from lip2speech.video import load_roi

    check_id(utterance.id)
    roi, report = load_roi(utterance.video)
    wav = read_wav(utterance.wav or utterance.video, SAMPLE_RATE).numpy()
    check_sound(wav, len(roi))
    write_atomic(path, save({"roi": np.ascontiguousarray(roi), "wav": fit_wav(wav, len(roi))}))
    return Row(
        id=utterance.id,
        split=utterance.split,
        speaker=utterance.speaker,
        text=utterance.text,
        status="done",
        n_frames=len(roi),
        face_share=round(float(report.face_share), 4),
    )


def write_atomic(path: Path, payload: bytes) -> None:
    """Bytes that are at `path` whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(payload)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
