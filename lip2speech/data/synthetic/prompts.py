"""Prompts for one person to mouth, and the synthesiser that reads them aloud (extra `synth`)."""

from __future__ import annotations

import numpy as np

from lip2speech.constants import SAMPLE_RATE
from lip2speech.data.synthetic.espeak import NATIVE_RATE, load_espeak
from lip2speech.data.synthetic.sentences import is_sentence, sample_sentence, to_espeak_text
from lip2speech.data.synthetic.voices import PITCH_RANGE, TRAIN_PITCHES, TRAIN_VARIANTS

READING_WPM = 115  # GRID's slower speakers: between speech and mouthing, so that the warp stays small
SILENCE_S = 0.3  # before and after
RMS, PEAK = 0.07, 0.95
PROMPT_STREAM = 9  # so that prompts are not the sentences of a corpus with this seed


def sample_prompts(count: int, seed: int) -> list[str]:
    """`count` different sentences of the grammar's test split, which the bundled model never learned."""
    if count < 1 or seed < 0:
        raise ValueError(f"count must be 1 or more and seed 0 or more, got {count} and {seed}.")
    rng = np.random.default_rng([PROMPT_STREAM, seed])
    chosen: dict[str, None] = {}
    while len(chosen) < count:
        chosen[sample_sentence(rng, "test")] = None
    return list(chosen)


def synthesize_prompt(text: str, voice: int) -> np.ndarray:
    """(T_a,) float32 at 16 kHz: any English text in the voice of a training variant, counted round."""
    from scipy.signal import resample_poly

    if not any(c.isalpha() for c in text) or not set("[]<>").isdisjoint(text):
        raise ValueError(f"{text!r} cannot be read aloud; give words without brackets.")
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
