"""The voices of the synthetic corpus, and one spoken sentence.

A voice is an espeak-ng variant seen through a vocal vtl_factor of another length: the sound is resampled by
`vtl_factor`, which moves formants and pitch together, while the speaking rate is corrected beforehand. Training
and test voices share no variant. Rate, level and the silence around a sentence vary; pitch and its range are
the voice's own, since lips do not show them and only the voice asked for can tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from lip2speech.constants import SAMPLE_RATE, SAMPLES_PER_FRAME
from lip2speech.data.synthetic.espeak import NATIVE_RATE, Phoneme, load_espeak
from lip2speech.data.synthetic.sentences import check_split, sample_sentence, to_espeak_text

# variant -> pitch (espeak-ng: 0..99, 50 is the variant's own); kept are those of which an offline recogniser
# (pocketsphinx with the grammar) gets about two words of three, and that are voiced: the noise of a whisper
# is no more to be seen on lips than a pitch that varies by chance
TRAIN_VARIANTS = {
    "m1": 50, "m2": 48, "m3": 46, "m4": 50, "m5": 50, "m6": 46, "f1": 50, "f2": 50, "f4": 48,
    "Denis": 50, "Hugo": 50, "adam": 48, "edward": 50, "Reed": 50, "benjamin": 48, "david": 50,
    "Henrique": 50, "croak": 50, "grandpa": 50, "john": 50, "klatt": 50, "klatt3": 50, "miguel": 50,
    "mike2": 50, "sandro": 50, "victor": 50, "anikaRobot": 50, "robosoft6": 50,
}  # fmt: skip
TEST_VARIANTS = {"f3": 50, "f5": 50, "Diogo": 50, "michel": 50}
TRAIN_VTL_FACTORS, TEST_VTL_FACTORS = (0.9, 0.95, 1.0, 1.05, 1.1), (0.97, 1.03)
TRAIN_PITCHES, TEST_PITCHES = (-4, 0, 4), (-2, 2)  # steps from the variant's pitch, each another voice
PITCH_RANGE = 47
RATE_WPM = (118.0, 165.0)  # GRID's speakers lie in the lower half
SILENCE_S = (0.22, 0.42)
LEVEL_DB = (-25.0, -20.0)
PEAK = 0.95
MAX_FILTER_PHASES = 600  # a resampling ratio of small whole numbers; the tempo is then off by less than 1e-5
MIN_S = 1.6  # shorter clips get a longer silence at the end
# streams of random numbers of one utterance: a change in one part must not move the others
SPEECH_STREAM, FACE_STREAM, SCENE_STREAM, LIGHT_STREAM, PHOTO_STREAM = range(5)
SPLIT_CODES = {"train": 0, "test": 1}


@dataclass(frozen=True)
class SynthesisVoice:
    """A synthetic person's voice; `vtl_factor` > 1 is a shorter vocal vtl_factor (higher formants)."""

    name: str
    variant: str
    pitch: int
    vtl_factor: float


@dataclass(frozen=True)
class SynthesizedUtterance:
    """A spoken sentence: wav (T_a,) float32 at 16 kHz, T_a a whole number of video frames."""

    wav: np.ndarray
    text: str
    voice: SynthesisVoice
    phonemes: tuple[Phoneme, ...]

    @property
    def n_frames(self) -> int:
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
            f"{variant.lower()}-{round(100 * vtl_factor)}-{pitch + step}", variant, pitch + step, vtl_factor
        )
        for variant, pitch in variants.items()
        for vtl_factor in vtl_factors
        for step in (TRAIN_PITCHES if train else TEST_PITCHES)
    ]


def random_stream(split: str, seed: int, index: int, stream: int) -> np.random.Generator:
    """The random numbers of one part of utterance `index`: they depend on nothing but these four values."""
    check_split(split)
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index must be 0 or more, got {seed} and {index}.")
    return np.random.default_rng([SPLIT_CODES[split], seed, index, stream])


def synthesize_utterance(split: str, seed: int, index: int) -> SynthesizedUtterance:
    """Utterance `index` of the corpus of this split and seed."""
    rng = random_stream(split, seed, index, SPEECH_STREAM)
    text = sample_sentence(rng, split)
    pool = synthesis_voices(split)
    return synthesize(text, pool[rng.integers(len(pool))], rng)


def synthesize(text: str, voice: SynthesisVoice, rng: np.random.Generator) -> SynthesizedUtterance:
    """Speak a sentence of the grammar; `rng` varies rate, level and the silence around it."""
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
    shift = round(lead * SAMPLE_RATE)
    n_samples = max(shift + len(wav) + tail * SAMPLE_RATE, MIN_S * SAMPLE_RATE)
    padded = np.zeros(-(-int(n_samples) // SAMPLES_PER_FRAME) * SAMPLES_PER_FRAME, np.float32)
    padded[shift : shift + len(wav)] = _set_level(wav, level)
    at = shift / SAMPLE_RATE
    moved = tuple(
        Phoneme(p.name, round(at + p.start / voice.vtl_factor, 4), round(at + p.end / voice.vtl_factor, 4))
        for p in phonemes
    )
    return SynthesizedUtterance(padded, text, voice, moved)


def _scale_vocal_tract(wav: np.ndarray, vtl_factor: float) -> np.ndarray:
    """(T,) at `NATIVE_RATE` -> (T',) at 16 kHz, played `vtl_factor` times faster."""
    from scipy.signal import resample_poly

    step = (Fraction(SAMPLE_RATE, NATIVE_RATE) / Fraction(vtl_factor)).limit_denominator(MAX_FILTER_PHASES)
    return resample_poly(wav, step.numerator, step.denominator).astype(np.float32)


def _set_level(wav: np.ndarray, level_db: float) -> np.ndarray:
    """Scale to a root mean square of `level_db` (1.0 is 0 dB), lower where peaks would clip."""
    rms = float(np.sqrt(np.mean(np.square(wav), dtype=np.float64)))
    gain = min(10 ** (level_db / 20) / max(rms, 1e-6), PEAK / max(float(np.abs(wav).max()), 1e-6))
    return (wav * gain).astype(np.float32)


def synthesize_audio(
    sentences: int, seed: int, split: str = "train"
) -> Iterator[tuple[np.ndarray, str, SynthesisVoice]]:
    """The sound of the corpus without pictures: (wav (T_a,) float32 at 16 kHz, text, voice) per utterance.

    Utterance i is the same as clip i of `make_corpus` with this seed and split, and does not depend on
    `sentences`.
    """
    check_split(split)
    if sentences < 1:
        raise ValueError(f"sentences must be 1 or more, got {sentences}.")
    for index in range(sentences):
        speech = synthesize_utterance(split, seed, index)
        yield speech.wav, speech.text, speech.voice
