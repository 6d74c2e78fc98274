"""Enrolled voices on disk: one small JSON file per voice, readable by its owner only, that can be deleted.

The file holds speaker embeddings, one for each speaker encoder the voice was enrolled for, quality metrics,
the owner's consent and its date, and a hash of the recordings; the recordings themselves are not kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lip2speech.config import from_dict
from lip2speech.models.speaker_encoder import SpeakerEncoder
from lip2speech.utils.files import atomic_write

VOICES_DIR_VARIABLE = "LIP2SPEECH_VOICES"
FORMAT = 1
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
RECOMMENDED_SPEECH_S = 15.0
MIN_SNR_DB = 15.0  # below, the embedding depends on the room
MAX_CLIPPING_RATIO = 1e-3
MAX_ELEMENT = 1e6  # of a stored embedding; ours are of order one


@dataclass(frozen=True)
class EnrolledVoice:
    """A voice and its metadata.

    Attributes:
        name: of the voice and of its file.
        embeddings: (S,) each, by the fingerprint of the speaker encoder.
        seconds: of speech.
        snr_db: level of speech over that of the pauses; None without pauses.
        clipping_ratio: fraction of samples at full scale.
        pitch_hz: 10, 50 and 90 % quantiles of F0; empty if the recording is unvoiced.
        consent: given by the owner of the voice, in their words.
        date: of enrollment, ISO 8601, UTC.
        source_sha256: of the recordings' samples.
    """

    name: str
    embeddings: dict[str, tuple[float, ...]]
    seconds: float
    snr_db: float | None
    clipping_ratio: float
    pitch_hz: tuple[float, ...]
    consent: str
    date: str
    source_sha256: str

    def embedding(self, speaker_encoder: SpeakerEncoder) -> Tensor:
        """The embedding (S,) float32 by this encoder; ValueError if the voice was not enrolled for it."""
        found = self.embeddings.get(speaker_encoder.fingerprint)
        if found is None or len(found) != speaker_encoder.dim:
            raise ValueError(
                f"voice {self.name!r} was not enrolled for this model's speaker encoder; "
                "enroll it again with --model."
            )
        return torch.tensor(found)

    @property
    def warnings(self) -> list[str]:
        """What a better recording would improve."""
        warnings = []
        if self.seconds < RECOMMENDED_SPEECH_S:
            warnings.append(
                f"{self.seconds:.1f} s of speech; {RECOMMENDED_SPEECH_S:.0f} s give a more reliable voice"
            )
        if self.snr_db is not None and self.snr_db < MIN_SNR_DB:
            warnings.append(
                f"speech is only {self.snr_db:.0f} dB above the noise; {MIN_SNR_DB:.0f} dB are recommended"
            )
        if self.clipping_ratio > MAX_CLIPPING_RATIO:
            warnings.append(f"{self.clipping_ratio:.1%} of the samples are clipped; record at a lower level")
        if not self.pitch_hz:
            warnings.append("no pitch was found; the voice will have none of its own")
        return warnings


def voices_dir() -> Path:
    """$LIP2SPEECH_VOICES if set, else lip2speech/voices in the user's data directory."""
    if directory := os.environ.get(VOICES_DIR_VARIABLE):
        return Path(directory)
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "lip2speech" / "voices"


def voice_path(name: str, folder: Path | None) -> Path:
    """The file of a voice; ValueError for an invalid name."""
    if not NAME_PATTERN.fullmatch(name):
        raise ValueError(f"a voice's name has lower-case letters, digits, - and _, at most 40, got {name!r}.")
    return (folder or voices_dir()) / f"{name}.json"


def save_voice(voice: EnrolledVoice, path: Path) -> None:
    """Write NAME.json atomically, readable by its owner only."""
    values: dict[str, Any] = {"format": FORMAT} | asdict(voice)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(values | {"sha256": checksum(values)}, indent=1), encoding="utf-8")
    path.chmod(0o600)


def load_voice(name: str, folder: Path | None = None) -> EnrolledVoice:
    """An enrolled voice.

    Raises:
        ValueError: there is none of that name, or its file is damaged or was modified.
    """
    path = voice_path(name, folder)
    if not path.is_file():
        known = ", ".join(list_voices(folder)) or "none yet"
        raise ValueError(f"no voice {name!r} is enrolled; enrolled voices: {known}.")
    try:
        values = json.loads(path.read_text(encoding="utf-8"), parse_constant=_reject_constant)
        if values.pop("sha256") != checksum(values):
            raise ValueError("its checksum differs")
        if values.pop("format") != FORMAT:
            raise ValueError("its format is unknown")
        voice = from_dict(EnrolledVoice, values, "voice")
        if voice.name != name:
            raise ValueError(f"it is of {voice.name!r}")
        if not all(abs(x) <= MAX_ELEMENT for embedding in voice.embeddings.values() for x in embedding):
            raise ValueError("its embedding has huge numbers")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path.name}: not a voice, or damaged ({error}); enroll it again.") from None
    return voice


def list_voices(folder: Path | None = None) -> list[str]:
    """Names of all enrolled voices."""
    folder = folder or voices_dir()
    found = folder.glob("*.json") if folder.is_dir() else ()
    return sorted(path.stem for path in found if NAME_PATTERN.fullmatch(path.stem))


def delete_voice(name: str, folder: Path | None = None) -> Path:
    """Overwrite and remove a voice; returns its folder. ValueError if there is none of that name."""
    path = voice_path(name, folder)
    if not path.is_file():
        load_voice(name, folder)  # raises, with the names of enrolled voices
    with path.open("r+b") as file:
        file.write(b"\0" * path.stat().st_size)
        file.flush()
        os.fsync(file.fileno())
    path.unlink()
    if path.exists():
        raise OSError(f"{path} still exists; remove it by hand.")
    return path.parent


def checksum(values: dict[str, Any]) -> str:
    """SHA-256 of plain values in canonical JSON."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _reject_constant(constant: str) -> float:
    raise ValueError(f"it holds {constant}")
