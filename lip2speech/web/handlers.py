"""What the tabs do: a video to speech and its pictures, a recording to a voice. Knows no widget.

Everything a person can cause comes out as `Refusal`, a key of `words.yaml` with its values: one sentence
without a path.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lip2speech import Lip2Speech
from lip2speech.audio.crossfade import LowConfidenceMode
from lip2speech.audio.io import read_wav
from lip2speech.audio.mel import LogMel, MelConfig
from lip2speech.audio.mux import mux
from lip2speech.models.speaker_encoder import SpeakerEncoder
from lip2speech.synthesis import SynthesisOptions
from lip2speech.video import MediaError, NoFaceError, load_roi
from lip2speech.video.diagnostics import write_png
from lip2speech.video.reader import media_duration
from lip2speech.voices.enrollment import enroll_voice
from lip2speech.voices.store import EnrolledVoice, delete_voice, list_voices, load_voice, voices_dir
from lip2speech.web.storage import TempFileStore

SAMPLE = Path(__file__).parents[1] / "pretrained" / "sample.mp4"
COLOURS = np.array([[11, 31, 30], [15, 118, 110], [94, 234, 212], [253, 246, 178]], float)  # quiet to loud
PIXELS = 4  # of the picture for one mel band or frame


class UserError(Exception):
    """Something that the person can change; `key` and `values` say what (see `words.yaml`)."""

    def __init__(self, key: str, **values: object):
        super().__init__(key)
        self.key, self.values = key, values


@dataclass(frozen=True)
class Limits:
    """What one person may ask for: bytes and seconds of a video, seconds of a recording."""

    megabytes: int = 200
    video_s: float = 180.0
    recording_s: float = 600.0


@dataclass(frozen=True)
class ConversionResult:
    """Files lie in a room of their own."""

    wav: Path
    video: Path
    picture: Path
    confidence: tuple[float, ...] | None
    numbers: dict[str, Any]


def speak(
    speech: Lip2Speech,
    video: Path,
    *,
    voice: Tensor | None,
    unsure: LowConfidenceMode,
    limits: Limits,
    rooms: TempFileStore,
    progress: Callable[[float], None] | None = None,
) -> ConversionResult:
    """A video with its new voice. Refusal: not a video, too long, no face."""
    try:
        seconds = media_duration(video)
        if seconds > limits.video_s:
            raise UserError("too_long", seconds=seconds, limit=limits.video_s)
        room = rooms.new()
        wav, spoken_video = room / "speech.wav", room / "speech.mp4"
        spoken = speech.convert_to_file(video, wav, SynthesisOptions(voice, low_confidence=unsure), progress)
        sound = read_wav(wav, spoken.sample_rate)
        mux(video, sound, spoken_video, spoken.sample_rate)
    except NoFaceError as error:
        raise UserError("unseen") from error
    except MediaError as error:
        raise UserError("not_read", why=without_name(str(error), video.name)) from error
    numbers = spoken.to_json() | {"note": speech.config.usage_note}
    picture = room / "spectrogram.png"
    write_png(picture, spectrogram(sound))
    return ConversionResult(wav, spoken_video, picture, spoken.confidence, numbers)


def spectrogram(wav: Tensor) -> np.ndarray:
    """(T_a,) at 16 kHz -> picture (H, W, 3) uint8, low bands below."""
    mel = LogMel(MelConfig())(wav[None, None])[0].numpy()
    level = np.clip((mel - mel.max() + 8.0) / 8.0, 0, 1)[::-1]  # 8 nats, 70 dB
    steps = np.linspace(0, 1, len(COLOURS))
    picture = np.stack([np.interp(level, steps, COLOURS[:, c]) for c in range(3)], -1).astype(np.uint8)
    return picture.repeat(PIXELS, 0).repeat(max(1, min(PIXELS, 1200 // max(1, picture.shape[1]))), 1)


def folder_of(person: str | None) -> Path:
    """Where a person's voices are kept: apart for who logged in, else those of this computer's user."""
    own = voices_dir()
    return own if person is None else own / "people" / hashlib.sha256(person.encode()).hexdigest()[:16]


def names_of(person: str | None) -> list[str]:
    """The voices this person may choose."""
    return list_voices(folder_of(person))


def vector_of(speech: Lip2Speech, person: str | None, voice: str | None) -> Tensor | None:
    """The vector of one of the person's own voices or the model's; None: the model's own choice."""
    if not voice:
        return None
    if voice in names_of(person):
        return load_voice(voice, folder_of(person)).embedding(speech.speaker_encoder)
    if voice in speech.voices:
        return speech.voices[voice]
    raise UserError("none_chosen")


def make_voice(
    person: str | None,
    name: str,
    recordings: list[Path],
    consent: str,
    limits: Limits,
    speaker_encoders: Sequence[SpeakerEncoder] = (),
) -> EnrolledVoice:
    """Enrol a voice of recordings. Refusal: no consent, bad name, too little speech, not a recording."""
    try:
        for recording in recordings:
            if (seconds := media_duration(recording)) > limits.recording_s:
                raise UserError("too_long", seconds=seconds, limit=limits.recording_s)
        return enroll_voice(name.strip(), recordings, consent, speaker_encoders=speaker_encoders, folder=folder_of(person))
    except (ValueError, OSError) as error:
        why = str(error)
        for recording in recordings:
            why = without_name(why, recording.name)
        raise UserError("refused", why=why.replace(", or pass --overwrite", "")) from error


def facts_of(person: str | None, name: str) -> dict[str, Any]:
    """What is known of an enrolled voice."""
    try:
        voice = load_voice(name, folder_of(person))
    except ValueError as error:
        raise UserError("refused", why=str(error)) from error
    known = ("name", "seconds", "snr_db", "clipping_ratio", "pitch_hz", "consent", "date")
    return {key: getattr(voice, key) for key in known} | {"notes": voice.warnings}


def remove_voice(person: str | None, name: str) -> None:
    """Delete a voice of this person."""
    try:
        delete_voice(name, folder_of(person))
    except ValueError as error:
        raise UserError("refused", why=str(error)) from error


class VoicePreview:
    """Lets a voice be heard: it says the bundled sample, whose mouth crops are read once."""

    def __init__(self, speech: Lip2Speech):
        self.speech = speech
        self.roi: np.ndarray | None = None

    def __call__(self, voice: Tensor | None) -> Tensor:
        """The sample's sentence in a voice, (T_a,) float32."""
        if self.roi is None:
            self.roi, _ = load_roi(SAMPLE)
        return self.speech.synthesize(self.roi, voice)


def without_name(line: str, name: str) -> str:
    """An error's line without the file's name in front, which is the page's own."""
    return line.removeprefix(f"{name}: ").replace(os.sep + name, "").replace(name, "the file")
