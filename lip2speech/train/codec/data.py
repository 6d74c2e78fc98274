"""The speech that codecs learn from: random segments of prepared clips, of sound files, of the talker.

Prepared clips and the talker are at 16 kHz and lie in memory; sound files are of any rate that is not below
the codec's, and of them only the segments that are drawn are ever read. It knows no codec.
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
from lip2speech.train.codec.noise import SOUNDS

HELD_OUT = 50  # one file in so many
TALKER_HELD_OUT = 40  # sentences
SEED = 7  # of the talker's sentences; those held out have the next one


@dataclass(frozen=True)
class CodecDataConfig:
    """Where the speech comes from: prepared folders, folders of sound files, N sentences of the talker.

    sampling_weights: chance of each source in that order, the talker last; equal when empty. For validation it holds
    out the folders' clips of split `valid`, one sound file in fifty, other utterances of the talker's voices.
    """

    prepared_dirs: tuple[str, ...] = ()
    audio_dirs: tuple[str, ...] = ()
    synthetic_sentences: int = 0
    sampling_weights: tuple[float, ...] = ()
    seconds: float = 0.8
    gain_jitter_db: float = 6.0


class SegmentSource(Protocol):
    """Where segments come from."""

    def draw(self, rng: np.random.Generator) -> Tensor:
        """A random segment (samples,) float32."""
        ...


class InMemorySource:
    """Sound in memory, (T_a,) int16. ValueError: it is no longer than a segment."""

    def __init__(self, wav: Tensor, samples: int):
        if len(wav) <= samples:
            raise ValueError(f"a source has {len(wav)} samples, a segment {samples}; give more speech.")
        self.wav, self.samples = wav, samples

    def draw(self, rng: np.random.Generator) -> Tensor:
        start = int(rng.integers(len(self.wav) - self.samples))
        return self.wav[start : start + self.samples].float() / 32768


class FileSource:
    """Sound files of a split, (samples,) at `sample_rate` from anywhere in them; longer ones come more often.

    Raises:
        ValueError: none is as long as a segment, or one is of a lower rate.
    """

    def __init__(self, folder: str | Path, split: str, sample_rate: int, samples: int):
        self.sample_rate, self.samples = sample_rate, samples
        found = [p for p in sorted(Path(folder).rglob("*")) if p.suffix.lower() in SOUNDS and p.is_file()]
        mine = held_out(found, Path(folder)) if split != "train" else found
        away = set(held_out(found, Path(folder))) if split == "train" else set()
        sizes = {path: self.size(path) for path in mine if path not in away}
        self.paths = [path for path, (frames, rate) in sizes.items() if frames >= self.needed(rate)]
        if not self.paths:
            raise ValueError(
                f"{folder}: none of its {len(sizes)} sound files ({', '.join(SOUNDS)}) of split {split} has "
                f"the {samples} samples of a segment; give more speech."
            )
        seconds = np.array([sizes[path][0] / sizes[path][1] for path in self.paths])
        self.chance = seconds / seconds.sum()

    def size(self, path: Path) -> tuple[int, int]:
        """Frames and rate of a file."""
        import soundfile

        try:
            with path.open("rb") as file, soundfile.SoundFile(file) as sound:
                frames, rate = sound.frames, sound.samplerate
        except soundfile.LibsndfileError as error:
            raise ValueError(f"{path} is no sound that can be read ({error}); take it away.") from None
        if rate < self.sample_rate:
            raise ValueError(
                f"{path} is at {rate} Hz, the codec at {self.sample_rate}: what lies above was cut off, and "
                "nobody learns it there. Give recordings of that rate or a higher one."
            )
        return frames, rate

    def needed(self, rate: int) -> int:
        """Frames of a file that a segment is made of."""
        return math.ceil(self.samples * rate / self.sample_rate)

    def draw(self, rng: np.random.Generator) -> Tensor:
        import soundfile

        path = self.paths[int(rng.choice(len(self.paths), p=self.chance))]
        with path.open("rb") as file, soundfile.SoundFile(file) as sound:
            count = self.needed(sound.samplerate)
            sound.seek(int(rng.integers(sound.frames - count + 1)))
            wav = torch.from_numpy(sound.read(count, dtype="float32", always_2d=True).mean(1))
            return resample(wav, sound.samplerate, self.sample_rate)[: self.samples]


class SpeechSegments:
    """Random segments of all speech of a split.

    Raises:
        ValueError: there is none, too little, of too low a rate, or the weights are not one for each source.
            Of a split that is not `train`, a folder may have none where another source has some.
    """

    def __init__(self, config: CodecDataConfig, split: str, sample_rate: int):
        if sample_rate != SAMPLE_RATE and (config.prepared_dirs or config.synthetic_sentences):
            raise ValueError(
                f"prepared clips and the talker are at {SAMPLE_RATE} Hz, the codec wants {sample_rate}; give "
                f"data.sounds, folders of recordings, or train it at {SAMPLE_RATE}."
            )
        self.config = config
        self.samples = samples = int(config.seconds * sample_rate)
        sources: list[SegmentSource | None] = [
            prepared(folder, split, samples) for folder in config.prepared_dirs
        ]
        sources += [FileSource(folder, split, sample_rate, samples) for folder in config.audio_dirs]
        if config.synthetic_sentences:
            sources.append(InMemorySource(talker(config.synthetic_sentences, split), samples))
        if not sources:
            raise ValueError(
                "no speech to train on; give data.folders, data.sounds or data.talker_sentences."
            )
        weights = np.array(config.sampling_weights or [1.0] * len(sources))
        if len(weights) != len(sources) or not (weights > 0).all():
            raise ValueError(
                f"data.weights must have one number above 0 for each of {len(sources)} sources, "
                f"got {weights}."
            )
        self.sources = [source for source in sources if source is not None]
        if not self.sources:
            read_clips(config.prepared_dirs, split)  # says what is missing
        present = weights[[source is not None for source in sources]]
        self.weights = present / present.sum()

    def draw(self, count: int, rng: np.random.Generator) -> Tensor:
        """(count, 1, samples) float32."""
        rows = []
        for source in rng.choice(len(self.sources), count, p=self.weights):
            wav = self.sources[source].draw(rng)
            rows.append(
                wav * 10 ** (rng.uniform(-self.config.gain_jitter_db, self.config.gain_jitter_db) / 20)
            )
        return torch.stack(rows).unsqueeze(1).clamp(-1, 1)


def prepared(folder: str, split: str, samples: int) -> InMemorySource | None:
    """The sound of a prepared folder's clips; None: it has none to hold out."""
    try:
        clips = read_clips([folder], split)
    except ValueError:
        if split == "train":
            raise
        return None
    return InMemorySource(torch.cat([clip.tensors()["wav"] for clip in clips]), samples)


def talker(sentences: int, split: str) -> Tensor:
    """Speech of the synthetic training voices, (T_a,) int16."""
    from lip2speech.data.synthetic import synthesize_audio

    count, seed = (sentences, SEED) if split == "train" else (TALKER_HELD_OUT, SEED + 1)
    wavs = [wav for wav, _, _ in synthesize_audio(count, seed)]
    return (torch.cat([torch.as_tensor(wav) for wav in wavs]).clamp(-1, 1) * 32767).to(torch.int16)


def held_out(paths: Sequence[Path], folder: Path) -> list[Path]:
    """One in `HELD_OUT` of the files below a folder, one at least, by a hash of where they lie in it."""
    by_hash = sorted(paths, key=lambda p: hashlib.sha256(p.relative_to(folder).as_posix().encode()).digest())
    return by_hash[: math.ceil(len(paths) / HELD_OUT)]
