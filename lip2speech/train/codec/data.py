"""Training data of codecs: random segments of prepared clips, audio files and synthetic speech.

Prepared clips and synthetic speech are at 16 kHz and kept in memory; audio files may have any rate not below
the codec's, and only the sampled segments are read.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lip2speech.audio.resample import resample
from lip2speech.constants import SAMPLE_RATE
from lip2speech.data.dataset import read_clips
from lip2speech.train.codec.noise import AUDIO_SUFFIXES

FILES_PER_VALIDATION_FILE = 50
N_VALIDATION_SENTENCES = 40
SENTENCE_SEED = 7  # of the synthetic sentences; validation uses the next seed


@dataclass(frozen=True)
class CodecDataConfig:
    """Sources of speech.

    For validation, prepared clips of split `valid`, one audio file in fifty and other utterances of the
    synthetic voices are held out.

    Attributes:
        prepared_dirs: folders of prepared clips.
        audio_dirs: folders of audio files, at any depth.
        synthetic_sentences: number of sentences to synthesize.
        sampling_weights: of the sources in this order; equal when empty.
        seconds: length of a segment.
        gain_jitter_db: largest random gain of a segment.
    """

    prepared_dirs: tuple[str, ...] = ()
    audio_dirs: tuple[str, ...] = ()
    synthetic_sentences: int = 0
    sampling_weights: tuple[float, ...] = ()
    seconds: float = 0.8
    gain_jitter_db: float = 6.0


class SegmentSource(Protocol):
    """A source of segments."""

    def sample(self, rng: np.random.Generator) -> Tensor:
        """A random segment (samples,) float32."""
        ...


class InMemorySource:
    """Audio in memory, (T_a,) int16. ValueError if it is not longer than a segment."""

    def __init__(self, wav: Tensor, samples: int):
        if len(wav) <= samples:
            raise ValueError(f"a source has {len(wav)} samples, a segment {samples}; add more speech.")
        self.wav, self.samples = wav, samples

    def sample(self, rng: np.random.Generator) -> Tensor:
        """A random segment (samples,) float32."""
        start = int(rng.integers(len(self.wav) - self.samples))
        return self.wav[start : start + self.samples].float() / 32768


class FileSource:
    """Audio files of a split, sampled in proportion to their length.

    Args:
        folder: of the files, at any depth.
        split: `train` or another, which gets the validation files.
        sample_rate: of the segments.
        samples: per segment.

    Raises:
        ValueError: no file is as long as a segment, or one has a lower rate.
    """

    def __init__(self, folder: str | Path, split: str, sample_rate: int, samples: int):
        self.sample_rate, self.samples = sample_rate, samples
        paths = sorted(Path(folder).rglob("*"))
        found = [p for p in paths if p.suffix.lower() in AUDIO_SUFFIXES and p.is_file()]
        validation = validation_files(found, Path(folder))
        chosen = sorted(set(found) - set(validation)) if split == "train" else validation
        sizes = {path: self.frames_and_rate(path) for path in chosen}
        self.paths = [path for path, (frames, rate) in sizes.items() if frames >= self.segment_frames(rate)]
        if not self.paths:
            raise ValueError(
                f"{folder}: none of its {len(sizes)} audio files ({', '.join(AUDIO_SUFFIXES)}) of split "
                f"{split} has the {samples} samples of a segment; add more speech."
            )
        seconds = np.array([sizes[path][0] / sizes[path][1] for path in self.paths])
        self.probabilities = seconds / seconds.sum()

    def frames_and_rate(self, path: Path) -> tuple[int, int]:
        """Length in frames and sample rate of a file."""
        import soundfile

        try:
            with path.open("rb") as file, soundfile.SoundFile(file) as audio:
                frames, rate = audio.frames, audio.samplerate
        except soundfile.LibsndfileError as error:
            raise ValueError(f"{path} cannot be read as audio ({error}); remove it.") from None
        if rate < self.sample_rate:
            raise ValueError(
                f"{path} is at {rate} Hz, the codec at {self.sample_rate} Hz; use recordings of that rate or "
                "higher, as lower ones lack the high frequencies."
            )
        return frames, rate

    def segment_frames(self, rate: int) -> int:
        """Frames at `rate` that make a segment."""
        return math.ceil(self.samples * rate / self.sample_rate)

    def sample(self, rng: np.random.Generator) -> Tensor:
        """A random segment (samples,) float32."""
        import soundfile

        path = self.paths[int(rng.choice(len(self.paths), p=self.probabilities))]
        with path.open("rb") as file, soundfile.SoundFile(file) as audio:
            count = self.segment_frames(audio.samplerate)
            audio.seek(int(rng.integers(audio.frames - count + 1)))
            wav = torch.from_numpy(audio.read(count, dtype="float32", always_2d=True).mean(1))
            return resample(wav, audio.samplerate, self.sample_rate)[: self.samples]


class SpeechSegments:
    """Random segments from all sources of a split.

    Raises:
        ValueError: there is no speech, too little, or of too low a rate, or the weights do not match the
            sources. In validation a folder may have none as long as another source has some.
    """

    def __init__(self, config: CodecDataConfig, split: str, sample_rate: int):
        if sample_rate != SAMPLE_RATE and (config.prepared_dirs or config.synthetic_sentences):
            raise ValueError(
                f"prepared clips and synthetic speech are at {SAMPLE_RATE} Hz, the codec at {sample_rate} "
                f"Hz; use data.audio_dirs, or train it at {SAMPLE_RATE} Hz."
            )
        self.config = config
        sources = make_sources(config, split, sample_rate)
        if not sources:
            raise ValueError(
                "no speech to train on; set data.prepared_dirs, data.audio_dirs or data.synthetic_sentences."
            )
        weights = np.array(config.sampling_weights or [1.0] * len(sources))
        if len(weights) != len(sources) or not (weights > 0).all():
            raise ValueError(
                f"data.sampling_weights must have one value above 0 for each of {len(sources)} sources, got "
                f"{weights}."
            )
        self.sources = [source for source in sources if source is not None]
        if not self.sources:
            read_clips(config.prepared_dirs, split)  # raises the error that names the split
        present = weights[[source is not None for source in sources]]
        self.weights = present / present.sum()

    def sample(self, count: int, rng: np.random.Generator) -> Tensor:
        """(count, 1, samples) float32."""
        rows, jitter = [], self.config.gain_jitter_db
        for source in rng.choice(len(self.sources), count, p=self.weights):
            wav = self.sources[source].sample(rng)
            rows.append(wav * 10 ** (rng.uniform(-jitter, jitter) / 20))
        return torch.stack(rows).unsqueeze(1).clamp(-1, 1)


def make_sources(config: CodecDataConfig, split: str, sample_rate: int) -> list[SegmentSource | None]:
    """All sources in the order of the config; None for a folder without clips of a validation split."""
    samples = int(config.seconds * sample_rate)
    sources: list[SegmentSource | None] = [load_prepared(f, split, samples) for f in config.prepared_dirs]
    sources += [FileSource(folder, split, sample_rate, samples) for folder in config.audio_dirs]
    if config.synthetic_sentences:
        sources.append(InMemorySource(synthesize(config.synthetic_sentences, split), samples))
    return sources


def load_prepared(folder: str, split: str, samples: int) -> InMemorySource | None:
    """The audio of a folder of prepared clips; None if it has no clips of a validation split."""
    try:
        clips = read_clips([folder], split)
    except ValueError:
        if split == "train":
            raise
        return None
    return InMemorySource(torch.cat([clip.tensors()["wav"] for clip in clips]), samples)


def synthesize(n_sentences: int, split: str) -> Tensor:
    """Synthetic speech of the training voices, (T_a,) int16."""
    from lip2speech.data.synthetic import synthesize_audio

    is_train = split == "train"
    count, seed = (n_sentences, SENTENCE_SEED) if is_train else (N_VALIDATION_SENTENCES, SENTENCE_SEED + 1)
    wavs = [wav for wav, _, _ in synthesize_audio(count, seed)]
    return (torch.cat([torch.as_tensor(wav) for wav in wavs]).clamp(-1, 1) * 32767).to(torch.int16)


def validation_files(paths: Sequence[Path], folder: Path) -> list[Path]:
    """One in `FILES_PER_VALIDATION_FILE` of the files, at least one, by a hash of the path."""
    by_hash = sorted(paths, key=lambda p: hashlib.sha256(p.relative_to(folder).as_posix().encode()).digest())
    return by_hash[: math.ceil(len(paths) / FILES_PER_VALIDATION_FILE)]
