"""Does the speech sound like the person it should? Voices a model never learned, judged by a speaker encoder.

    every other recording of a voice -> the voice the model is asked to speak in
    the recordings between them      -> the template by which the judge knows the voice
    the lips of other people         -> speech in that voice -> how near it lies to each template

The lips are other people's, so nothing but the voice vector can make the sound like its owner. Rows: the
recordings themselves (the ceiling), speech in the voice, and speech in the model's own voice (the floor).
Beside the judge stands a measure that needs none: how far the median pitch lies from the voice's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lip2speech.audio.pitch import pitch_quantiles
from lip2speech.evaluation.dataset import EvaluationItem, choose, prepared_items
from lip2speech.models.speaker_encoder import SpeakerEncoder
from lip2speech.models.speaker_encoder.xvector import XVectorNet, encoder_fingerprint
from lip2speech.pipeline import Lip2Speech

LEAST_CLIPS = 4
"""Of a voice: two to take the voice from, two to know it by."""
TRUE, SPOKEN, OWN = "true sound", "in that voice", "model's own voice"
OCTAVE = 12  # semitones


@dataclass(frozen=True)
class TargetSpeaker:
    """One person: set, name, some clips, the voice to speak in, the judge's template, log2(F0 / 128 Hz)."""

    set: str
    name: str
    known: tuple[EvaluationItem, ...]
    vector: Tensor
    template: Tensor
    pitch: float


@dataclass(frozen=True)
class SimilarityScore:
    """One sound and its cosine with every template, (V,); pitch: semitones from the voice's own, or NaN."""

    set: str
    row: str
    right: int
    cosines: Tensor
    pitch: float

    @property
    def others(self) -> Tensor:
        """Cosines with everybody else's template, (V - 1,)."""
        return torch.cat([self.cosines[: self.right], self.cosines[self.right + 1 :]])


@dataclass(frozen=True)
class SimilarityReport:
    """All sounds that were judged, among how many voices; own: by the encoder that the model hears with."""

    voices: int
    heard: tuple[SimilarityScore, ...]
    own: bool = False

    def table(self) -> str:
        """One line for each set and row, as Markdown."""
        head = ["set", "sound", "clips", "nearest is the right voice", "similarity to it", "to the others"]
        head += ["to the nearest other", "pitch off, semitones"]
        judge = " The judge is the model's own encoder, which flatters it." if self.own else ""
        lines = [f"Among {self.voices} voices; chance {1 / self.voices:.3f}.{judge}", ""]
        lines += ["| " + " | ".join(head) + " |", "| --- | --- |" + " ---: |" * (len(head) - 2)]
        for name in dict.fromkeys(h.set for h in self.heard):
            lines += [self._line(name, row) for row in (TRUE, SPOKEN, OWN)]
        return "\n".join(lines)

    def figures(self, name: str, row: str) -> tuple[float, float, float, float, float]:
        """Share of right voices, similarity to them, to the others, to the nearest; median pitch error."""
        heard = [h for h in self.heard if (h.set, h.row) == (name, row)]
        right = [float(h.cosines[h.right]) for h in heard]
        best = [float(h.others.max()) for h in heard]
        pitch = [h.pitch for h in heard if math.isfinite(h.pitch)]
        return (
            float(np.mean([r > b for r, b in zip(right, best, strict=True)])),
            float(np.mean(right)),
            float(np.mean([float(h.others.mean()) for h in heard])),
            float(np.mean(best)),
            float(np.median(pitch)) if pitch else math.nan,
        )

    def _line(self, name: str, row: str) -> str:
        count = sum((h.set, h.row) == (name, row) for h in self.heard)
        *shares, pitch = self.figures(name, row)
        cells = [name, row, str(count), *(f"{x:.3f}" for x in shares), f"{pitch:.2f}"]
        return "| " + " | ".join(cells) + " |"


def similarity(
    model: Lip2Speech,
    encoder: XVectorNet,
    sets: Sequence[tuple[Path, str]],
    *,
    lips: int = 12,
    route: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SimilarityReport:
    """Let the model speak in every voice of some sets of prepared clips, and judge whose voice that is.

    Args:
        sets: folders of prepared clips with a split; a person needs four clips.
        lips: how many clips of other people speak in each voice.
        progress: called with (voices done, voices in all).
    Raises:
        ValueError: fewer than two voices, or a folder without clips of that split.
    """
    voices = [
        voice for root, split in sets for voice in read_voices(root, split, encoder, model.speaker_encoder)
    ]
    if len(voices) < 2:
        raise ValueError(
            f"two voices with {LEAST_CLIPS} clips each are the least to tell apart, got {len(voices)}."
        )
    templates = torch.stack([voice.template for voice in voices])
    own = model.speaker_embedding(None)
    heard: list[SimilarityScore] = []
    for i, voice in enumerate(voices):
        mouths = [item.roi() for item in others_lips(voices, i, lips)]
        sounds = [(TRUE, item.wav()) for item in voice.known]
        for row, vector in ((SPOKEN, voice.vector), (OWN, own)):
            sounds += [(row, model(mouth, vector, route)) for mouth in mouths]
        for row, wav in sounds:
            heard.append(
                SimilarityScore(
                    voice.set, row, i, templates @ encoder.embed(wav), semitones(wav, voice.pitch)
                )
            )
        if progress is not None:
            progress(i + 1, len(voices))
    return SimilarityReport(
        len(voices), tuple(heard), encoder_fingerprint(encoder) == model.speaker_encoder.fingerprint
    )


def read_voices(
    root: Path, split: str, encoder: XVectorNet, speakers: SpeakerEncoder
) -> Iterator[TargetSpeaker]:
    """The people of a set who have clips enough; `known` are those that the template is not made of."""
    clips: dict[str, list[EvaluationItem]] = {}
    for item in choose(prepared_items(root, split), split):
        clips.setdefault(item.speaker, []).append(item)
    for name, items in clips.items():
        if len(items) < LEAST_CLIPS:
            continue
        known = tuple(items[0::2])
        template = torch.stack([encoder.embed(item.wav()) for item in items[1::2]]).mean(0)
        recording = torch.cat([item.wav() for item in known])
        vector = speakers.embed(recording)
        pitch = float(pitch_quantiles(recording)[1])
        yield TargetSpeaker(f"{root.name}:{split}", name, known, vector, F.normalize(template, dim=0), pitch)


def others_lips(voices: Sequence[TargetSpeaker], i: int, count: int) -> list[EvaluationItem]:
    """`count` clips of other people than `voices[i]`, evenly spread over them."""
    pool = [item for j, voice in enumerate(voices) if j != i for item in voice.known]
    return [pool[k * len(pool) // count] for k in range(min(count, len(pool)))]


def semitones(wav: Tensor, median: float) -> float:
    """How far the median pitch of (T_a,) lies from `median` = log2(F0 / 128 Hz); NaN without a pitch."""
    own = float(pitch_quantiles(wav)[1])
    return OCTAVE * abs(own - median) if own and median else math.nan
