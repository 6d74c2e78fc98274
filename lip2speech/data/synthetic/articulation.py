"""Silent (mouthed) speech: slower, less open, clearer, and in a speaker-specific style.

Models trained on voiced speech lose up to 8.5 points on silent speech (Petridis et al. 2018, "Visual-only
recognition of normal, whispered and silent speech"), and speakers without acoustic feedback hyperarticulate
(Janke et al. 2010, "Impact of lack of acoustic feedback in EMG-based silent speech recognition"). The papers
do not quantify the differences in these parameters; the values below are our assumptions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lip2speech.constants import SAMPLE_RATE, SAMPLES_PER_FRAME
from lip2speech.data.synthetic.espeak import Phoneme
from lip2speech.data.synthetic.visemes import PARAMETERS, TARGETS, VisemeTable
from lip2speech.data.synthetic.voices import SynthesizedUtterance

TEMPO, TEMPO_STD = 1.35, 0.12  # duration relative to voiced speech; standard deviations are of the logarithm
OPENING, OPENING_STD = 0.75, 0.25
JAW_RATIO = (0.5, 0.85)  # the jaw drops less than the lips open, as no vowel has to be loud
HYPERARTICULATION = (1.05, 1.35)  # gain of spread, rounding and closures
VISEME_OFFSET_STD = 0.1  # of a speaker's viseme targets, relative to the full range
DURATION_JITTER_STD = 0.12  # of the logarithm of a phoneme's duration
MAX_PARAMETER = 1.2  # limit of the mouth model


@dataclass(frozen=True)
class SilentSpeechStyle:
    """How one speaker mouths.

    Args:
        tempo: Duration relative to voiced speech.
        gains: Factors of `PARAMETERS`.
        viseme_offsets: Viseme -> (7,), added to its targets.
    """

    tempo: float
    gains: tuple[float, ...]
    viseme_offsets: Mapping[str, NDArray[Any]]

    @classmethod
    def sample(cls, rng: np.random.Generator) -> SilentSpeechStyle:
        """A random style."""
        tempo = float(np.clip(TEMPO * np.exp(rng.normal(0, TEMPO_STD)), 1.1, 1.7))
        opening = float(np.clip(OPENING * np.exp(rng.normal(0, OPENING_STD)), 0.4, 1.2))
        jaw = opening * rng.uniform(*JAW_RATIO)
        spread, rounding, tuck = rng.uniform(*HYPERARTICULATION, size=3)
        gains = dict.fromkeys(PARAMETERS, 1.0) | {"opening": opening, "jaw": jaw}
        gains |= {"spread": float(spread), "rounding": float(rounding), "tuck": float(tuck)}
        varies = np.isin(PARAMETERS, ("opening", "spread", "rounding", "jaw"))
        offsets = {
            name: VISEME_OFFSET_STD * rng.standard_normal(len(PARAMETERS)) * varies for name in TARGETS
        }
        return cls(tempo, tuple(gains.values()), offsets | {"_": np.zeros(len(PARAMETERS))})

    def table(self) -> VisemeTable:
        """The speaker's viseme targets; closures stay closures, pressed more firmly."""
        return {name: (self._targets(name), weights) for name, (_, weights) in TARGETS.items()}

    def _targets(self, name: str) -> tuple[float, ...]:
        voiced = np.asarray(TARGETS[name][0])
        mouthed = voiced * self.gains + self.viseme_offsets[name]
        if voiced[0] < 0:
            mouthed[0] = voiced[0] * HYPERARTICULATION[1]
        elif voiced[0] > 0:
            mouthed[0] = max(mouthed[0], 0.05)
        return tuple(np.clip(mouthed, -MAX_PARAMETER, MAX_PARAMETER))


def apply_silent_style(
    utterance: SynthesizedUtterance, style: SilentSpeechStyle, rng: np.random.Generator
) -> SynthesizedUtterance:
    """The same sentence mouthed at the style's tempo; its audio is zeros of the new duration."""
    first, last = utterance.phonemes[0].start, utterance.phonemes[-1].end
    tail = len(utterance.wav) / SAMPLE_RATE - last
    durations = np.array([p.end - p.start for p in utterance.phonemes])
    durations *= style.tempo * np.exp(rng.normal(0, DURATION_JITTER_STD, len(durations)))
    starts = first + np.concatenate([[0.0], np.cumsum(durations)])
    phonemes = tuple(
        Phoneme(p.name, round(float(a), 4), round(float(b), 4))
        for p, a, b in zip(utterance.phonemes, starts[:-1], starts[1:], strict=True)
    )
    frames = -(-int((starts[-1] + tail) * SAMPLE_RATE) // SAMPLES_PER_FRAME)
    return replace(utterance, wav=np.zeros(frames * SAMPLES_PER_FRAME, np.float32), phonemes=phonemes)
