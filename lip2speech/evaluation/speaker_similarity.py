"""Speaker similarity: does synthesized speech sound like its target speaker, according to a speaker encoder?

    every other recording of a speaker  -> the embedding the model is conditioned on
    the recordings in between           -> the speaker's centroid in the evaluation encoder
    videos of other speakers            -> speech in that voice -> cosine similarity to every centroid

The videos are of other speakers, so only the speaker embedding can make the speech similar. Rows: the
recordings themselves (upper bound), speech in the target voice, speech in the default voice (lower bound).
The error of the median F0 is reported as well, which needs no encoder.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lip2speech.audio.pitch import pitch_quantiles
from lip2speech.evaluation.dataset import EvaluationItem, Progress, prepared_items, select_items
from lip2speech.evaluation.tables import markdown_table
from lip2speech.models.speaker_encoder import SpeakerEncoder
from lip2speech.models.speaker_encoder.xvector import XVectorNet, xvector_fingerprint
from lip2speech.pipeline import Lip2Speech

MIN_CLIPS = 4
"""Per speaker: two for the voice, two for the centroid."""
GROUND_TRUTH, TARGET_VOICE, DEFAULT_VOICE = "ground truth", "target voice", "default voice"
ROWS = (GROUND_TRUTH, TARGET_VOICE, DEFAULT_VOICE)
SEMITONES_PER_OCTAVE = 12
HEAD = (
    "set", "audio", "clips", "top-1 accuracy", "similarity to target", "mean similarity to others",
    "similarity to nearest other", "F0 error (semitones)",
)  # fmt: skip


@dataclass(frozen=True)
class TargetSpeaker:
    """One speaker.

    Args:
        set: name of the data set.
        name: of the speaker.
        items: the clips that the centroid does not use.
        embedding: (S,), of `items`, by the model's speaker encoder.
        centroid: (E,), of the other clips, by the evaluation encoder; unit length.
        f0: median, as log2(F0 / 128 Hz); 0 if unvoiced.
    """

    set: str
    name: str
    items: tuple[EvaluationItem, ...]
    embedding: Tensor
    centroid: Tensor
    f0: float


@dataclass(frozen=True)
class SimilarityScore:
    """One waveform.

    Args:
        set: data set of the target speaker.
        row: one of `ROWS`.
        target: index of the target speaker.
        cosines: (V,), similarity to every centroid.
        f0_error: semitones from the target's median F0, or NaN.
    """

    set: str
    row: str
    target: int
    cosines: Tensor
    f0_error: float

    @property
    def others(self) -> Tensor:
        """Similarity to the other speakers, (V - 1,)."""
        return torch.cat([self.cosines[: self.target], self.cosines[self.target + 1 :]])


@dataclass(frozen=True)
class SimilarityReport:
    """The scores of all waveforms.

    Args:
        n_speakers: number of target speakers.
        scores: one per waveform.
        same_encoder: whether the evaluation encoder is the one the model is conditioned on.
    """

    n_speakers: int
    scores: tuple[SimilarityScore, ...]
    same_encoder: bool = False

    def table(self) -> str:
        """One line per set and row, as Markdown."""
        bias = (
            " The evaluation encoder is the model's own, which biases the scores."
            if self.same_encoder
            else ""
        )
        sets = dict.fromkeys(score.set for score in self.scores)
        lines = [self._line(name, row) for name in sets for row in ROWS]
        chance = f"{self.n_speakers} speakers; chance level {1 / self.n_speakers:.3f}.{bias}"
        return f"{chance}\n\n{markdown_table(HEAD, lines, text_columns=2)}"

    def metrics(self, set_name: str, row: str) -> tuple[float, float, float, float, float]:
        """Top-1 accuracy; mean similarity to target, others, nearest other; median F0 error."""
        scores = [score for score in self.scores if (score.set, score.row) == (set_name, row)]
        target = [float(score.cosines[score.target]) for score in scores]
        nearest = [float(score.others.max()) for score in scores]
        f0_errors = [score.f0_error for score in scores if math.isfinite(score.f0_error)]
        return (
            float(np.mean([t > n for t, n in zip(target, nearest, strict=True)])),
            float(np.mean(target)),
            float(np.mean([float(score.others.mean()) for score in scores])),
            float(np.mean(nearest)),
            float(np.median(f0_errors)) if f0_errors else math.nan,
        )

    def _line(self, set_name: str, row: str) -> list[str]:
        count = sum((score.set, score.row) == (set_name, row) for score in self.scores)
        *similarities, f0_error = self.metrics(set_name, row)
        return [set_name, row, str(count), *(f"{x:.3f}" for x in similarities), f"{f0_error:.2f}"]


def evaluate_speaker_similarity(
    model: Lip2Speech,
    encoder: XVectorNet,
    sets: Sequence[tuple[Path, str]],
    *,
    clips_per_speaker: int = 12,
    vocoder: str | None = None,
    progress: Progress | None = None,
) -> SimilarityReport:
    """Synthesize videos of other speakers in every target voice, and identify the speaker.

    Args:
        model: to evaluate.
        encoder: the evaluation speaker encoder.
        sets: folders of prepared clips and a split of each; a speaker needs four clips.
        clips_per_speaker: number of videos synthesized in each voice.
        vocoder: the model's default if None.
        progress: called with (speakers done, speakers in all).
    Raises:
        ValueError: fewer than two speakers, or a folder without clips of that split.
    """
    speakers = [
        speaker
        for root, split in sets
        for speaker in read_target_speakers(root, split, encoder, model.speaker_encoder)
    ]
    if len(speakers) < 2:
        raise ValueError(f"need at least two speakers with {MIN_CLIPS} clips each, got {len(speakers)}.")
    centroids = torch.stack([speaker.centroid for speaker in speakers])
    default_voice = model.speaker_embedding(None)
    scores: list[SimilarityScore] = []
    for i, speaker in enumerate(speakers):
        rois = [item.load_roi() for item in other_speakers_clips(speakers, i, clips_per_speaker)]
        audio = [(GROUND_TRUTH, item.load_wav()) for item in speaker.items]
        for row, embedding in ((TARGET_VOICE, speaker.embedding), (DEFAULT_VOICE, default_voice)):
            audio += [(row, model.synthesize(roi, embedding, vocoder)) for roi in rois]
        for row, wav in audio:
            cosines = centroids @ encoder.embed(wav)
            scores.append(SimilarityScore(speaker.set, row, i, cosines, f0_error_semitones(wav, speaker.f0)))
        if progress is not None:
            progress(i + 1, len(speakers))
    same_encoder = xvector_fingerprint(encoder) == model.speaker_encoder.fingerprint
    return SimilarityReport(len(speakers), tuple(scores), same_encoder)


def read_target_speakers(
    root: Path, split: str, encoder: XVectorNet, speaker_encoder: SpeakerEncoder
) -> Iterator[TargetSpeaker]:
    """The speakers of a set with enough clips; voice and centroid are of alternate clips."""
    clips: dict[str, list[EvaluationItem]] = {}
    for item in select_items(prepared_items(root, split), split):
        clips.setdefault(item.speaker, []).append(item)
    for name, items in clips.items():
        if len(items) < MIN_CLIPS:
            continue
        voice_items = tuple(items[0::2])
        centroid = torch.stack([encoder.embed(item.load_wav()) for item in items[1::2]]).mean(0)
        recording = torch.cat([item.load_wav() for item in voice_items])
        embedding, f0 = speaker_encoder.embed(recording), float(pitch_quantiles(recording)[1])
        unit = F.normalize(centroid, dim=0)
        yield TargetSpeaker(f"{root.name}:{split}", name, voice_items, embedding, unit, f0)


def other_speakers_clips(speakers: Sequence[TargetSpeaker], i: int, count: int) -> list[EvaluationItem]:
    """`count` clips of speakers other than `speakers[i]`, evenly spaced."""
    pool = [item for j, speaker in enumerate(speakers) if j != i for item in speaker.items]
    return [pool[k * len(pool) // count] for k in range(min(count, len(pool)))]


def f0_error_semitones(wav: Tensor, target: float) -> float:
    """Distance of the median F0 of (T_a,) from `target` = log2(F0 / 128 Hz); NaN if either is unvoiced."""
    median = float(pitch_quantiles(wav)[1])
    return SEMITONES_PER_OCTAVE * abs(median - target) if median and target else math.nan
