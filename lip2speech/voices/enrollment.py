"""Enrollment: recordings of one person, with their consent, become a stored voice.

recordings -> energy VAD -> quality metrics -> speaker embeddings + consent -> NAME.json (see `store.py`)
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from lip2speech.audio.io import read_wav
from lip2speech.audio.pitch import QUANTILES
from lip2speech.constants import SAMPLE_RATE
from lip2speech.models.speaker_encoder import LTASSpeakerEncoder, SpeakerEncoder
from lip2speech.voices.store import EnrolledVoice, save_voice, voice_path

MIN_SPEECH_S = 3.0
MIN_CONSENT_CHARS = 10  # a name and a verb need more
MIN_NOISE_S = 0.1
CLIP_LEVEL = 0.985
VAD_WIN_LENGTH, VAD_HOP_LENGTH = 400, 160  # 25 ms every 10 ms
# The VAD's threshold is this fraction of the way, in dB, from the 10 % to the 95 % quantile of frame levels,
# but at most VAD_MAX_RANGE_DB and at least VAD_MIN_RANGE_DB below the latter.
VAD_THRESHOLD, VAD_MAX_RANGE_DB, VAD_MIN_RANGE_DB = 0.35, 35.0, 6.0
VAD_PAD = 10  # frames on either side of loud ones, for consonants


def enroll_voice(
    name: str,
    recordings: Sequence[str | os.PathLike[str]],
    consent: str,
    *,
    speaker_encoders: Sequence[SpeakerEncoder] = (),
    folder: Path | None = None,
    overwrite: bool = False,
) -> EnrolledVoice:
    """Create and store a voice from one person's recordings.

    Args:
        name: of the voice.
        recordings: audio or video files.
        consent: given by the person, in their words.
        speaker_encoders: of the models to use the voice with, besides the long-term average spectrum.
        folder: of stored voices; default: `voices_dir()`.
        overwrite: replace a voice of that name.

    Raises:
        ValueError: no consent, an invalid or existing name, or too little speech.
        MediaError: a recording cannot be read.
    """
    path = voice_path(name, folder)
    if len(consent.strip()) < MIN_CONSENT_CHARS:
        raise ValueError(
            "a voice is enrolled only with the consent of its owner; give it in their words, for example "
            "'I am Ann Lee and agree that this computer speaks in my voice.'"
        )
    if path.exists() and not overwrite:
        raise ValueError(f"a voice {name!r} already exists; delete it first, or pass --overwrite.")
    if not recordings:
        raise ValueError("no recording was given; a voice needs one of its owner.")
    wavs = [read_wav(recording) for recording in recordings]
    source_name = ", ".join(Path(recording).name for recording in recordings)
    voice = embed_recordings(wavs, source_name, speaker_encoders)
    voice = replace(
        voice, name=name, consent=consent.strip(), date=datetime.now(UTC).isoformat("T", "seconds")
    )
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    save_voice(voice, path)
    return voice


def embed_recordings(
    wavs: Sequence[Tensor], source_name: str, speaker_encoders: Sequence[SpeakerEncoder] = ()
) -> EnrolledVoice:
    """The voice of recordings (T_a,) at 16 kHz, without name and consent.

    Raises:
        ValueError: too little speech.
    """
    segments = [energy_vad(wav) for wav in wavs]
    speech, noise = (torch.cat(parts) for parts in zip(*segments, strict=True))
    seconds = len(speech) / SAMPLE_RATE
    if seconds < MIN_SPEECH_S:
        raise ValueError(
            f"{source_name}: {seconds:.1f} s of speech were found, a voice needs {MIN_SPEECH_S:.0f} s; "
            "record more."
        )
    encoders = (LTASSpeakerEncoder(), *speaker_encoders)
    embeddings = {encoder.fingerprint: encoder.embed(speech) for encoder in encoders}
    pitch = embeddings[LTASSpeakerEncoder.fingerprint][-len(QUANTILES) :]
    has_noise = len(noise) >= MIN_NOISE_S * SAMPLE_RATE
    digest = hashlib.sha256()
    for wav in wavs:
        digest.update(wav.numpy().tobytes())
    return EnrolledVoice(
        name="",
        embeddings={name: tuple(embedding.tolist()) for name, embedding in embeddings.items()},
        seconds=round(seconds, 2),
        snr_db=round(rms_db(speech) - rms_db(noise), 1) if has_noise else None,
        clipping_ratio=round(float((speech.abs() > CLIP_LEVEL).float().mean()), 5),
        pitch_hz=tuple(round(128 * 2**octave, 1) for octave in pitch.tolist()) if pitch.any() else (),
        consent="",
        date="",
        source_sha256=digest.hexdigest(),
    )


def energy_vad(wav: Tensor) -> tuple[Tensor, Tensor]:
    """Split (T_a,) at 16 kHz by frame energy into speech (T_s,) and the rest (T_r,)."""
    if len(wav) < VAD_WIN_LENGTH:
        return wav, wav[:0]
    level = 10 * (wav.unfold(0, VAD_WIN_LENGTH, VAD_HOP_LENGTH).square().mean(1) + 1e-10).log10()
    floor, peak = torch.quantile(level, torch.tensor([0.1, 0.95])).tolist()
    threshold = min(floor + VAD_THRESHOLD * (peak - floor), peak - VAD_MIN_RANGE_DB)
    loud = level > max(peak - VAD_MAX_RANGE_DB, threshold)
    padded = F.max_pool1d(loud.float()[None], 2 * VAD_PAD + 1, 1, VAD_PAD)[0] > 0
    mask = padded.repeat_interleave(VAD_HOP_LENGTH)
    mask = torch.cat([mask, mask[-1:].expand(len(wav) - len(mask))])
    return wav[mask], wav[~mask]


def rms_db(wav: Tensor) -> float:
    """Root mean square of (T_a,) in dB re full scale."""
    return 10 * math.log10(float(wav.square().mean()) + 1e-10)
