"""How a person mouths words without a voice: slower, less open, clearer, and in a way of their own.

Models trained on voiced speech lose up to 8.5 points on silent speech (Petridis et al. 2018, "Visual-only
recognition of normal, whispered and silent speech"), and people without acoustic feedback hyperarticulate
(Janke et al. 2010, "Impact of lack of acoustic feedback in EMG-based silent speech recognition"). Those
papers say that the modes differ, not by how much in these parameters: the numbers below are our stand-in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from lip2speech.constants import SAMPLE_RATE, SAMPLES_PER_FRAME
from lip2speech.data.synthetic.espeak import Phoneme
from lip2speech.data.synthetic.visemes import PARAMETERS, TARGETS, VisemeTable
from lip2speech.data.synthetic.voices import SynthesizedUtterance

TEMPO, TEMPO_STD = 1.35, 0.12  # how much longer than spoken; spreads are those of the logarithm
OPENING, OPENING_STD = 0.75, 0.25
JAW_RATIO = (0.5, 0.85)  # the jaw drops less than the lips part: no vowel must be loud
HYPERARTICULATION = (1.05, 1.35)  # spread, rounding and closures: nobody hears, so the lips must tell
VISEME_OFFSET_STD = (
    0.1  # how far each viseme of one person lies from everybody's, in shares of the full range
)
DURATION_JITTER_STD = 0.12  # of single sounds' lengths
MAX_PARAMETER = 1.2  # of any parameter; the mouth's shape is not made for more


@dataclass(frozen=True)
class SilentSpeechStyle:
    """One person's way: how much slower, what `PARAMETERS` are multiplied by, and their own visemes."""

    tempo: float
    gains: tuple[float, ...]
    habits: Mapping[str, np.ndarray]  # viseme -> (7,) added to its targets

    @classmethod
    def sample(cls, rng: np.random.Generator) -> SilentSpeechStyle:
        """A random silent person."""
        tempo = float(np.clip(TEMPO * np.exp(rng.normal(0, TEMPO_STD)), 1.1, 1.7))
        opening = float(np.clip(OPENING * np.exp(rng.normal(0, OPENING_STD)), 0.4, 1.2))
        jaw = opening * rng.uniform(*JAW_RATIO)
        spread, rounding, tuck = rng.uniform(*HYPERARTICULATION, size=3)
        gains = dict.fromkeys(PARAMETERS, 1.0) | {"opening": opening, "jaw": jaw}
        gains |= {"spread": float(spread), "rounding": float(rounding), "tuck": float(tuck)}
        moved = np.isin(PARAMETERS, ("opening", "spread", "rounding", "jaw"))
        habits = {name: VISEME_OFFSET_STD * rng.standard_normal(len(PARAMETERS)) * moved for name in TARGETS}
        return cls(tempo, tuple(gains.values()), habits | {"_": np.zeros(len(PARAMETERS))})

    def table(self) -> VisemeTable:
        """The targets of this person's visemes; a closure stays one, and is pressed more clearly."""
        return {name: (self._targets(name), weights) for name, (_, weights) in TARGETS.items()}

    def _targets(self, name: str) -> tuple[float, ...]:
        spoken = np.asarray(TARGETS[name][0])
        own = spoken * self.gains + self.habits[name]
        if spoken[0] < 0:
            own[0] = spoken[0] * HYPERARTICULATION[1]
        elif spoken[0] > 0:
            own[0] = max(own[0], 0.05)
        return tuple(np.clip(own, -MAX_PARAMETER, MAX_PARAMETER))


def apply_silent_style(
    speech: SynthesizedUtterance, manner: SilentSpeechStyle, rng: np.random.Generator
) -> SynthesizedUtterance:
    """The same words without sound, at the manner's tempo: the wav is zeros, as long as the picture."""
    first, last = speech.phonemes[0].start, speech.phonemes[-1].end
    tail = len(speech.wav) / SAMPLE_RATE - last
    lengths = np.array([p.end - p.start for p in speech.phonemes])
    lengths *= manner.tempo * np.exp(rng.normal(0, DURATION_JITTER_STD, len(lengths)))
    starts = first + np.concatenate([[0.0], np.cumsum(lengths)])
    phonemes = tuple(
        Phoneme(p.name, round(float(a), 4), round(float(b), 4))
        for p, a, b in zip(speech.phonemes, starts[:-1], starts[1:], strict=True)
    )
    frames = -(-int((starts[-1] + tail) * SAMPLE_RATE) // SAMPLES_PER_FRAME)
    return replace(speech, wav=np.zeros(frames * SAMPLES_PER_FRAME, np.float32), phonemes=phonemes)
