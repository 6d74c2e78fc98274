"""What the tabs do: convert a video, enroll, list, describe and delete voices. Independent of Gradio.

Whatever a user can cause raises `UserError`: the key of a message in i18n.yaml and its values, without paths.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lip2speech.audio.crossfade import LowConfidenceMode
from lip2speech.audio.io import read_wav
from lip2speech.audio.mel import LogMel, MelConfig
from lip2speech.audio.mux import mux
from lip2speech.models.speaker_encoder import SpeakerEncoder
from lip2speech.pipeline import Lip2Speech
from lip2speech.synthesis import SynthesisOptions
from lip2speech.video import MediaError, NoFaceError, load_roi
from lip2speech.video.diagnostics import write_png
from lip2speech.video.reader import media_duration
from lip2speech.voices import enrollment
from lip2speech.voices.store import EnrolledVoice, delete_voice, list_voices, load_voice, voices_dir
from lip2speech.web.storage import TempFileStore

SAMPLE_VIDEO = Path(__file__).parents[1] / "pretrained" / "sample.mp4"
LOW_CONFIDENCE_MODES: tuple[LowConfidenceMode, ...] = get_args(LowConfidenceMode)
COLORMAP = np.array([[11, 31, 30], [15, 118, 110], [94, 234, 212], [253, 246, 178]], float)  # quiet to loud
PIXELS_PER_BIN = 4
MAX_SPECTROGRAM_WIDTH = 1200
DYNAMIC_RANGE = 8.0  # nats below the maximum, 70 dB


class UserError(Exception):
    """Something that the user can correct. key, values: the message in i18n.yaml and its placeholders."""

    def __init__(self, key: str, **values: object):
        super().__init__(key)
        self.key, self.values = key, values


@dataclass(frozen=True)
class Limits:
    """Limits of one request."""

    max_upload_mb: int = 200
    max_duration_s: float = 180.0
    max_recording_s: float = 600.0


@dataclass(frozen=True)
class ConversionResult:
    """The files of one conversion, in a directory of the store, and its metrics."""

    wav: Path
    video: Path
    spectrogram: Path
    confidence: tuple[float, ...] | None
    details: dict[str, Any]


def convert_video(
    model: Lip2Speech,
    video: Path,
    *,
    voice: Tensor | None,
    low_confidence: LowConfidenceMode,
    limits: Limits,
    storage: TempFileStore,
    progress: Callable[[float], None] | None = None,
) -> ConversionResult:
    """Synthesise the speech of a video. UserError: not a video, too long, or no face."""
    try:
        duration = media_duration(video)
        if duration > limits.max_duration_s:
            raise UserError("video_too_long", seconds=duration, limit=limits.max_duration_s)
        directory = storage.create()
        wav, result_video = directory / "speech.wav", directory / "speech.mp4"
        options = SynthesisOptions(voice, low_confidence=low_confidence)
        result = model.convert_to_file(video, wav, options, progress)
        samples = read_wav(wav, result.sample_rate)
        mux(video, samples, result_video, result.sample_rate)
    except NoFaceError as error:
        raise UserError("no_face") from error
    except MediaError as error:
        raise UserError("unreadable_video", reason=strip_name(str(error), video.name)) from error
    details = result.to_json() | {
        "confidence_threshold": model.config.confidence_threshold,
        "usage_note": model.config.usage_note,
    }
    image = directory / "spectrogram.png"
    write_png(image, spectrogram_image(samples))
    return ConversionResult(wav, result_video, image, result.confidence, details)


def spectrogram_image(wav: Tensor) -> npt.NDArray[np.uint8]:
    """(T_a,) at 16 kHz -> log-mel spectrogram (H, W, 3) uint8, low frequencies at the bottom."""
    mel = LogMel(MelConfig())(wav[None, None])[0].numpy()  # (n_mels, T)
    level = np.clip((mel - mel.max() + DYNAMIC_RANGE) / DYNAMIC_RANGE, 0, 1)[::-1]
    positions = np.linspace(0, 1, len(COLORMAP))
    image = np.stack([np.interp(level, positions, COLORMAP[:, c]) for c in range(3)], -1).astype(np.uint8)
    width = max(1, min(PIXELS_PER_BIN, MAX_SPECTROGRAM_WIDTH // max(1, image.shape[1])))
    return image.repeat(PIXELS_PER_BIN, 0).repeat(width, 1)


def user_voices_dir(user: str | None) -> Path:
    """Where a user's voices are stored: per user after login, else the voices of this computer's user."""
    shared = voices_dir()
    return shared if user is None else shared / "people" / hashlib.sha256(user.encode()).hexdigest()[:16]


def voice_names(user: str | None) -> list[str]:
    """The enrolled voices of a user."""
    return list_voices(user_voices_dir(user))


def speaker_embedding(model: Lip2Speech, user: str | None, voice: str | None) -> Tensor | None:
    """The embedding of a user's enrolled voice or of one of the model's; None: the model's default voice."""
    if not voice:
        return None
    if voice in voice_names(user):
        return load_voice(voice, user_voices_dir(user)).embedding(model.speaker_encoder)
    if voice in model.voices:
        return model.voices[voice]
    raise UserError("no_voice_selected")


def enroll_voice(
    user: str | None,
    name: str,
    recordings: Sequence[Path],
    consent: str,
    limits: Limits,
    speaker_encoders: Sequence[SpeakerEncoder] = (),
) -> EnrolledVoice:
    """Enroll a voice. UserError: no consent, bad name, too little speech, or not a recording."""
    try:
        for recording in recordings:
            if (duration := media_duration(recording)) > limits.max_recording_s:
                raise UserError("recording_too_long", seconds=duration, limit=limits.max_recording_s)
        return enrollment.enroll_voice(
            name.strip(), recordings, consent, speaker_encoders=speaker_encoders, folder=user_voices_dir(user)
        )
    except (ValueError, OSError) as error:
        reason = str(error)
        for recording in recordings:
            reason = strip_name(reason, recording.name)
        raise UserError("rejected", reason=reason.replace(", or pass --overwrite", "")) from error


def describe_voice(user: str | None, name: str) -> dict[str, Any]:
    """The properties of an enrolled voice."""
    try:
        voice = load_voice(name, user_voices_dir(user))
    except ValueError as error:
        raise UserError("rejected", reason=str(error)) from error
    keys = ("name", "seconds", "snr_db", "clipping_ratio", "pitch_hz", "consent", "date")
    return {key: getattr(voice, key) for key in keys} | {"notes": voice.warnings}


def remove_voice(user: str | None, name: str) -> None:
    """Delete an enrolled voice of a user."""
    try:
        delete_voice(name, user_voices_dir(user))
    except ValueError as error:
        raise UserError("rejected", reason=str(error)) from error


class VoicePreview:
    """Synthesises the bundled sample video in a voice; its mouth crops are computed once."""

    def __init__(self, model: Lip2Speech):
        self.model = model
        self._roi: npt.NDArray[np.uint8] | None = None

    def __call__(self, voice: Tensor | None) -> Tensor:
        """Speaker embedding (S,) -> wav (T_a,) float32."""
        if self._roi is None:
            self._roi, _ = load_roi(SAMPLE_VIDEO)
        return self.model.synthesize(self._roi, voice)


def strip_name(message: str, name: str) -> str:
    """An error message without the file name, which is the server's own."""
    return message.removeprefix(f"{name}: ").replace(os.sep + name, "").replace(name, "the file")
