"""Prompts for one speaker to mouth, and their text-to-speech audio (extra `synth`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lip2speech.constants import SAMPLE_RATE
from lip2speech.data.synthetic.espeak import NATIVE_RATE, load_espeak
from lip2speech.data.synthetic.sentences import is_sentence, sample_sentence, to_espeak_text
from lip2speech.data.synthetic.voices import PITCH_RANGE, TRAIN_PITCHES, TRAIN_VARIANTS

READING_WPM = 115  # GRID's slower speakers: between voiced and mouthed speech, so that DTW paths stay short
SILENCE_S = 0.3  # before and after
RMS, PEAK = 0.07, 0.95
PROMPT_STREAM = 9  # keeps prompts different from the sentences of a corpus with the same seed


def sample_prompts(count: int, seed: int) -> list[str]:
    """Different sentences of the grammar's test split, which the bundled model was not trained on."""
    if count < 1 or seed < 0:
        raise ValueError(f"count must be 1 or more and seed 0 or more, got {count} and {seed}.")
    rng = np.random.default_rng([PROMPT_STREAM, seed])
    prompts: dict[str, None] = {}
    while len(prompts) < count:
        prompts[sample_sentence(rng, "test")] = None
    return list(prompts)


def synthesize_prompt(text: str, voice: int) -> NDArray[Any]:
    """Any English text in a training variant's voice (modulo their number): (T_a,) float32 at 16 kHz."""
    from scipy.signal import resample_poly

    if not any(c.isalpha() for c in text) or not set("[]<>").isdisjoint(text):
        raise ValueError(f"{text!r} cannot be synthesized; give words without brackets.")
    variant, pitch = list(TRAIN_VARIANTS.items())[voice % len(TRAIN_VARIANTS)]
    wav, _ = load_espeak().synthesize(
        to_espeak_text(text) if is_sentence(text) else text,
        voice=f"en-us+{variant}",
        rate=READING_WPM,
        pitch=pitch + TRAIN_PITCHES[1],
        pitch_range=PITCH_RANGE,
    )
    wav = resample_poly(wav, SAMPLE_RATE // 50, NATIVE_RATE // 50).astype(np.float32)
    gain = min(RMS / max(float(np.sqrt(np.mean(wav**2))), 1e-6), PEAK / max(float(np.abs(wav).max()), 1e-6))
    return np.pad(wav * np.float32(gain), round(SILENCE_S * SAMPLE_RATE))
