"""The voices of the synthetic corpus, and the synthesis of one utterance.

A voice is an espeak-ng variant with another vocal tract length: the audio is resampled by `vtl_factor`, which
shifts formants and pitch together, while the speaking rate is compensated beforehand. Training and test
voices share no variant. Rate, level and the silence around a sentence vary; pitch and its range are fixed per
voice, since they cannot be seen on lips and are determined by the speaker embedding alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lip2speech.constants import SAMPLE_RATE, SAMPLES_PER_FRAME
from lip2speech.data.synthetic.espeak import NATIVE_RATE, Phoneme, load_espeak
from lip2speech.data.synthetic.sentences import check_split, sample_sentence, to_espeak_text

# variant -> pitch (espeak-ng: 0..99, 50 is the variant's default); only variants of which an offline ASR
# (pocketsphinx with the grammar) recognizes about two words in three, and that are voiced: like a random
# pitch, the noise of a whisper cannot be seen on lips
TRAIN_VARIANTS = {
    "m1": 50, "m2": 48, "m3": 46, "m4": 50, "m5": 50, "m6": 46, "f1": 50, "f2": 50, "f4": 48,
    "Denis": 50, "Hugo": 50, "adam": 48, "edward": 50, "Reed": 50, "benjamin": 48, "david": 50,
    "Henrique": 50, "croak": 50, "grandpa": 50, "john": 50, "klatt": 50, "klatt3": 50, "miguel": 50,
    "mike2": 50, "sandro": 50, "victor": 50, "anikaRobot": 50, "robosoft6": 50,
}  # fmt: skip
TEST_VARIANTS = {"f3": 50, "f5": 50, "Diogo": 50, "michel": 50}
TRAIN_VTL_FACTORS, TEST_VTL_FACTORS = (0.9, 0.95, 1.0, 1.05, 1.1), (0.97, 1.03)
TRAIN_PITCHES, TEST_PITCHES = (-4, 0, 4), (-2, 2)  # offsets from the variant's pitch, each a separate voice
PITCH_RANGE = 47
RATE_WPM = (118.0, 165.0)  # GRID's speakers are in the lower half
SILENCE_S = (0.22, 0.42)
LEVEL_DB = (-25.0, -20.0)
PEAK = 0.95
MAX_FILTER_PHASES = 600  # limits the denominator of the resampling ratio; the tempo error is below 1e-5
MIN_S = 1.6  # shorter clips are padded with silence at the end
# Random streams of one utterance: a change in one must not affect the others.
SPEECH_STREAM, FACE_STREAM, SCENE_STREAM, LIGHT_STREAM, PHOTO_STREAM = range(5)
SPLIT_CODES = {"train": 0, "test": 1}


@dataclass(frozen=True)
class SynthesisVoice:
    """The voice of a synthetic speaker.

    Args:
        name: Unique name.
        variant: Voice variant of espeak-ng.
        pitch: Pitch parameter of espeak-ng.
        vtl_factor: Frequency scale of the vocal tract; above 1 it is shorter (higher formants).
    """

    name: str
    variant: str
    pitch: int
    vtl_factor: float


@dataclass(frozen=True)
class SynthesizedUtterance:
    """A synthesized sentence.

    Args:
        wav: (T_a,) float32 at 16 kHz, a whole number of video frames.
        text: The sentence.
        voice: Its voice.
        phonemes: Its phonemes with their times in `wav`.
    """

    wav: NDArray[Any]
    text: str
    voice: SynthesisVoice
    phonemes: tuple[Phoneme, ...]

    @property
    def n_frames(self) -> int:
        """Number of video frames."""
        return len(self.wav) // SAMPLES_PER_FRAME


def synthesis_voices(split: str) -> list[SynthesisVoice]:
    """All voices of a split, in a fixed order."""
    check_split(split)
    train = split == "train"
    variants, vtl_factors = (
        (TRAIN_VARIANTS, TRAIN_VTL_FACTORS) if train else (TEST_VARIANTS, TEST_VTL_FACTORS)
    )
    return [
        SynthesisVoice(
            f"{variant.lower()}-{round(100 * factor)}-{pitch + step}", variant, pitch + step, factor
        )
        for variant, pitch in variants.items()
        for factor in vtl_factors
        for step in (TRAIN_PITCHES if train else TEST_PITCHES)
    ]


def random_stream(split: str, seed: int, index: int, stream: int) -> np.random.Generator:
    """The random generator of one stream of utterance `index`, determined by these four values only."""
    check_split(split)
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index must be 0 or more, got {seed} and {index}.")
    return np.random.default_rng([SPLIT_CODES[split], seed, index, stream])


def synthesize_utterance(split: str, seed: int, index: int) -> SynthesizedUtterance:
    """Utterance `index` of the corpus of this split and seed."""
    rng = random_stream(split, seed, index, SPEECH_STREAM)
    text = sample_sentence(rng, split)
    voices = synthesis_voices(split)
    return synthesize(text, voices[rng.integers(len(voices))], rng)


def synthesize(text: str, voice: SynthesisVoice, rng: np.random.Generator) -> SynthesizedUtterance:
    """Synthesize a sentence of the grammar; `rng` varies rate, level and the silence around it."""
    rate = rng.uniform(*RATE_WPM)
    lead, tail = rng.uniform(*SILENCE_S, size=2)
    level = rng.uniform(*LEVEL_DB)
    wav, phonemes = load_espeak().synthesize(
        to_espeak_text(text),
        voice=f"en-us+{voice.variant}",
        rate=max(80, round(rate / voice.vtl_factor)),
        pitch=voice.pitch,
        pitch_range=PITCH_RANGE,
    )
    wav = _scale_vocal_tract(wav, voice.vtl_factor)
    offset = round(lead * SAMPLE_RATE)
    n_samples = max(offset + len(wav) + tail * SAMPLE_RATE, MIN_S * SAMPLE_RATE)
    padded = np.zeros(-(-int(n_samples) // SAMPLES_PER_FRAME) * SAMPLES_PER_FRAME, np.float32)
    padded[offset : offset + len(wav)] = _set_level(wav, level)
    offset_s, factor = offset / SAMPLE_RATE, voice.vtl_factor
    shifted = tuple(
        Phoneme(p.name, round(offset_s + p.start / factor, 4), round(offset_s + p.end / factor, 4))
        for p in phonemes
    )
    return SynthesizedUtterance(padded, text, voice, shifted)


def _scale_vocal_tract(wav: NDArray[Any], factor: float) -> NDArray[Any]:
    """(T,) at `NATIVE_RATE` -> (T',) at 16 kHz, played `factor` times faster."""
    from scipy.signal import resample_poly

    ratio = (Fraction(SAMPLE_RATE, NATIVE_RATE) / Fraction(factor)).limit_denominator(MAX_FILTER_PHASES)
    resampled: NDArray[Any] = resample_poly(wav, ratio.numerator, ratio.denominator).astype(np.float32)
    return resampled


def _set_level(wav: NDArray[Any], level_db: float) -> NDArray[Any]:
    """Scale to an RMS of `level_db` dBFS, or less if peaks would clip."""
    rms = float(np.sqrt(np.mean(np.square(wav), dtype=np.float64)))
    gain = min(10 ** (level_db / 20) / max(rms, 1e-6), PEAK / max(float(np.abs(wav).max()), 1e-6))
    return (wav * gain).astype(np.float32)


def synthesize_audio(
    sentences: int, seed: int, split: str = "train"
) -> Iterator[tuple[NDArray[Any], str, SynthesisVoice]]:
    """The audio of the corpus without video: (wav (T_a,) float32 at 16 kHz, text, voice) per utterance.

    Utterance i is that of clip i of `make_corpus` with this seed and split, for any number of `sentences`.
    """
    check_split(split)
    if sentences < 1:
        raise ValueError(f"sentences must be 1 or more, got {sentences}.")
    for index in range(sentences):
        utterance = synthesize_utterance(split, seed, index)
        yield utterance.wav, utterance.text, utterance.voice
