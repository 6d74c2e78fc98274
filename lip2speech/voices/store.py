"""Enrolled voices: a recording becomes one small file that a person agreed to, and that can be deleted.

    recordings -> speech found -> quality told -> vector + consent -> NAME.json, for its owner's eyes alone

The recording itself is not kept: the file holds vectors of it (see `speaker/`), one for each speaker model it
was enrolled for, figures of quality, who agreed to what and when, and a hash of the sound it came from.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lip2speech.audio.io import read_wav
from lip2speech.audio.pitch import QUANTILES
from lip2speech.constants import SAMPLE_RATE
from lip2speech.files import atomic_write
from lip2speech.models.speaker_encoder import LTASSpeakerEncoder, SpeakerEncoder

FOLDER_VARIABLE = "LIP2SPEECH_VOICES"
FORMAT = 2
NAMES = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
LEAST_S, ENOUGH_S = 3.0, 15.0  # of speech: less is refused, less than the second is told
QUIET_DB = 15.0  # of speech over noise; below it the room colours the vector
CLIPPED_SHARE = 1e-3
CLIP_LEVEL = 0.985
FRAME, HOP = 400, 160  # 25 ms every 10 ms
# Speech lies above this share of the way, in dB, from the quietest tenth to the loudest twentieth, but never
# more than the second number below the latter, and always where it is nearer than the third.
SHARE, UNDER_PEAK_DB, NEAR_PEAK_DB = 0.35, 35.0, 6.0
PAD = 10  # frames round what is loud: consonants
LEAST_CONSENT = 10  # characters; a name and a verb need more


@dataclass(frozen=True)
class EnrolledVoice:
    """A voice and what is known of it.

    Attributes:
        vectors: (S,) each, by the fingerprint of the speaker model that made it.
        seconds: of speech it was made of.
        noise_db: how far speech lies above what was between it; None where nothing was.
        clipped: share of samples at full scale.
        pitch_hz: 10, 50 and 90 % quantiles; empty when the recording is not voiced.
        consent: the words of the person whose voice it is; date: when they were recorded, ISO 8601, UTC.
        source: SHA-256 of the sound it came from.
    """

    name: str
    vectors: dict[str, tuple[float, ...]]
    seconds: float
    noise_db: float | None
    clipped: float
    pitch_hz: tuple[float, ...]
    consent: str
    date: str
    source: str

    def vector(self, speakers: SpeakerEncoder) -> Tensor:
        """The vector (S,) float32 of one speaker model. ValueError: it was not enrolled for that one."""
        found = self.vectors.get(speakers.fingerprint)
        if found is None or len(found) != speakers.dim:
            raise ValueError(
                f"voice {self.name!r} was not enrolled for this model's speaker encoder; "
                "enrol it again with --model."
            )
        return torch.tensor(found)

    @property
    def warnings(self) -> list[str]:
        """What a better recording would improve."""
        told = []
        if self.seconds < ENOUGH_S:
            told.append(f"{self.seconds:.1f} s of speech; {ENOUGH_S:.0f} s make a steadier voice")
        if self.noise_db is not None and self.noise_db < QUIET_DB:
            told.append(f"speech only {self.noise_db:.0f} dB above the noise; {QUIET_DB:.0f} dB are wanted")
        if self.clipped > CLIPPED_SHARE:
            told.append(f"{self.clipped:.1%} of the samples are clipped; record more quietly")
        if not self.pitch_hz:
            told.append("no pitch was found; the voice will be given none of its own")
        return told


def voices_folder() -> Path:
    """Where voices are kept: $LIP2SPEECH_VOICES, else lip2speech/voices among the user's data."""
    if given := os.environ.get(FOLDER_VARIABLE):
        return Path(given)
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "lip2speech" / "voices"


def enroll(
    name: str,
    recordings: Sequence[str | os.PathLike],
    consent: str,
    *,
    speakers: Sequence[SpeakerEncoder] = (),
    folder: Path | None = None,
    overwrite: bool = False,
) -> EnrolledVoice:
    """Make and keep a voice of one person's recordings (sound or video files).

    Args:
        consent: what the person whose voice it is has agreed to, in words.
        speakers: of the models that are to speak in it; those that hear a long-term spectrum always can.
    Raises:
        ValueError: no consent, a name that cannot be a file's, a voice of that name, too little speech.
        MediaError: a recording cannot be read.
    """
    path = path_of(name, folder)
    if len(consent.strip()) < LEAST_CONSENT:
        raise ValueError(
            "a voice is enrolled only with the consent of its owner; give their words, for example "
            "'I am Ann Lee and agree that this computer speaks in my voice.'"
        )
    if path.exists() and not overwrite:
        raise ValueError(f"a voice {name!r} exists already; delete it first, or pass --overwrite.")
    if not recordings:
        raise ValueError("no recording was given; a voice needs one of its owner.")
    parts = [(read_wav(recording), Path(recording).name) for recording in recordings]
    voice = measure([wav for wav, _ in parts], ", ".join(name for _, name in parts), speakers)
    voice = replace(
        voice, name=name, consent=consent.strip(), date=datetime.now(UTC).isoformat("T", "seconds")
    )
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    save(voice, path)
    return voice


def measure(wavs: Sequence[Tensor], given: str, speakers: Sequence[SpeakerEncoder] = ()) -> EnrolledVoice:
    """The voice of recordings (T_a,) at 16 kHz, without name and consent. ValueError: too little speech."""
    speech, noise = zip(*(split_speech(wav) for wav in wavs), strict=True)
    said, rest = torch.cat(speech), torch.cat(noise)
    seconds = len(said) / SAMPLE_RATE
    if seconds < LEAST_S:
        raise ValueError(
            f"{given}: {seconds:.1f} s of speech were found, a voice needs {LEAST_S:.0f} s; record more."
        )
    vectors = {each.fingerprint: each.embed(said) for each in (LTASSpeakerEncoder(), *speakers)}
    pitch = vectors[LTASSpeakerEncoder.fingerprint][-len(QUANTILES) :]
    digest = hashlib.sha256()
    for wav in wavs:
        digest.update(wav.numpy().tobytes())
    return EnrolledVoice(
        name="",
        vectors={name: tuple(vector.tolist()) for name, vector in vectors.items()},
        seconds=round(seconds, 2),
        noise_db=round(level_db(said) - level_db(rest), 1) if len(rest) >= SAMPLE_RATE // 10 else None,
        clipped=round(float((said.abs() > CLIP_LEVEL).float().mean()), 5),
        pitch_hz=tuple(round(128 * 2**octave, 1) for octave in pitch.tolist()) if pitch.any() else (),
        consent="",
        date="",
        source=digest.hexdigest(),
    )


def split_speech(wav: Tensor) -> tuple[Tensor, Tensor]:
    """(T_a,) at 16 kHz -> its speech (T_s,) and the rest (T_r,): what is well above its own noise."""
    if len(wav) < FRAME:
        return wav, wav[:0]
    level = 10 * (wav.unfold(0, FRAME, HOP).square().mean(1) + 1e-10).log10()
    floor, peak = torch.quantile(level, torch.tensor([0.1, 0.95])).tolist()
    bar = max(peak - UNDER_PEAK_DB, min(floor + SHARE * (peak - floor), peak - NEAR_PEAK_DB))
    loud = level > bar
    wide = torch.nn.functional.max_pool1d(loud.float()[None], 2 * PAD + 1, 1, PAD)[0] > 0
    mask = wide.repeat_interleave(HOP)
    mask = torch.cat([mask, mask[-1:].expand(len(wav) - len(mask))])
    return wav[mask], wav[~mask]


def level_db(wav: Tensor) -> float:
    """Root mean square of (T_a,) in dB of full scale."""
    return 10 * math.log10(float(wav.square().mean()) + 1e-10)


def save(voice: EnrolledVoice, path: Path) -> None:
    """Write NAME.json whole or not at all, for its owner's eyes only."""
    values: dict[str, Any] = {"format": FORMAT} | asdict(voice)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(values | {"sha256": checksum(values)}, indent=1), encoding="utf-8")
    path.chmod(0o600)


def load_voice(name: str, folder: Path | None = None) -> EnrolledVoice:
    """An enrolled voice. ValueError: there is none of that name, or its file was changed or damaged."""
    path = path_of(name, folder)
    if not path.is_file():
        known = ", ".join(list_voices(folder)) or "none yet"
        raise ValueError(f"no voice {name!r} is enrolled; there are: {known}.")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        told = values.pop("sha256")
        if told != checksum(values) or (written := values.pop("format")) not in (1, FORMAT):
            raise ValueError("its checksum is another")
        if written == 1:  # had one vector
            values["vectors"] = {LTASSpeakerEncoder.fingerprint: values.pop("vector")}
        vectors = {key: tuple(map(float, vector)) for key, vector in values["vectors"].items()}
        voice = EnrolledVoice(**values | {"vectors": vectors, "pitch_hz": tuple(values["pitch_hz"])})
        if voice.name != name:
            raise ValueError("its name is another's")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path.name}: is no voice, or damaged ({error}); enrol it again.") from None
    return voice


def list_voices(folder: Path | None = None) -> list[str]:
    """Names of all enrolled voices."""
    folder = folder or voices_folder()
    found = folder.glob("*.json") if folder.is_dir() else ()
    return sorted(path.stem for path in found if NAMES.fullmatch(path.stem))


def delete_voice(name: str, folder: Path | None = None) -> Path:
    """Overwrite and remove a voice; gives back the folder it is gone from. ValueError when there is none."""
    path = path_of(name, folder)
    if not path.is_file():
        load_voice(name, folder)  # says which there are
    with path.open("r+b") as file:
        file.write(b"\0" * path.stat().st_size)
        file.flush()
        os.fsync(file.fileno())
    path.unlink()
    if path.exists():
        raise OSError(f"{path} is still there; remove it by hand.")
    return path.parent


def path_of(name: str, folder: Path | None) -> Path:
    """The file of a voice; ValueError for a name that is none."""
    if not NAMES.fullmatch(name):
        raise ValueError(f"a voice's name has small letters, digits, - and _, at most 40, got {name!r}.")
    return (folder or voices_folder()) / f"{name}.json"


def checksum(values: dict[str, Any]) -> str:
    """SHA-256 of plain values, in one fixed writing."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
