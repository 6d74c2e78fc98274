"""How sure a model may be: its heads' numbers, fitted to how often the words that it speaks are understood.

    prepared clips -> the model's speech -> the recogniser's six words and their places -> right or wrong,
    each beside the mean of `confidence_features` over the second round the word -> logistic regression

Every clip is spoken twice, as it is and from a worse picture (`worsen`): prepared clips are sharp and well
lit, and what a poor picture is worth cannot be learned from good ones alone. A model for live speech is
asked to speak live, since it doubts more where it sees less.
The fit and the report never share a clip, nor a speaker where a set that serves both has several. The words
are heard by the recogniser, so its own errors (6 to 12 % on true sound) count as the model's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lip2speech import checkpoint
from lip2speech.audio.io import replacing
from lip2speech.confidence.calibration import PAUSE_WEIGHT, Calibration, segment_confidence
from lip2speech.confidence.features import FEATURES
from lip2speech.confidence.tracker import ConfidenceTracker
from lip2speech.constants import VIDEO_FPS
from lip2speech.evaluation import reliability
from lip2speech.evaluation.asr.pocketsphinx import PocketSphinxASR, fits_grammar
from lip2speech.evaluation.dataset import EvaluationItem, choose, prepared_items
from lip2speech.evaluation.degradation import worsen_clip
from lip2speech.evaluation.streaming import live_configs
from lip2speech.pipeline import Lip2Speech
from lip2speech.streaming import StreamConfig, stream_roi

Set = tuple[Path, str]
"""A folder of prepared clips and a split of it."""

PICTURES = ("plain", "worse")
SIGNS = {"unit_entropy": -1, "code_entropy": -1, "head_agreement": 1, "sharpness": 1, "code_nll": -1}
"""Undecided heads, and codes unlike speech, never make a word surer; agreeing ones, and seeing more, never
less sure: such a weight is chance."""
RIDGE = 1.0
"""Pull of the weights, of features of variance 1, towards 0: some hundred words hardly feel it."""


@dataclass(frozen=True)
class CalibrationClip:
    """One clip as it was spoken.

    observed: (T, F + 1) of `confidence_features`. words: (seconds to its middle, whether it is right) of each.
    picture: one of PICTURES.
    """

    set: str
    id: str
    observed: Tensor
    words: tuple[tuple[float, bool], ...]
    picture: str = "plain"

    def seconds(self) -> Tensor:
        """The frames of the second round each word: (n, up to 25, F + 1)."""
        length, last = VIDEO_FPS, max(0, len(self.observed) - VIDEO_FPS)
        firsts = [min(last, max(0, round(middle * VIDEO_FPS - length / 2))) for middle, _ in self.words]
        return torch.stack([self.observed[first : first + length] for first in firsts])


def listen(
    model: Lip2Speech,
    item: EvaluationItem,
    name: str,
    recogniser: PocketSphinxASR,
    picture: str = "plain",
    live: StreamConfig | None = None,
) -> CalibrationClip:
    """Speak a clip with the model's own voice and route, whole or live, and hear which words are right.

    Where nothing is understood all words are wrong; they are taken to be spread evenly.
    """
    roi = item.roi()
    seen = worsen_clip(roi, item.id) if picture == "worse" else roi
    if live is None:
        prediction = model.predict(seen)
        wav, observed = model.vocode(prediction), model.frame_features(prediction, seen).values
    else:
        rendered = stream_roi(model, seen, config=live)
        wav, observed = rendered.wav, rendered.features.values
    text, heard = item.text.lower().split(), recogniser.hear(wav)
    if len(heard) == len(text):
        middles = [(h.start + h.end) / 2 for h in heard]
        right = [h.word == word for h, word in zip(heard, text, strict=True)]
    else:
        middles = [(i + 0.5) / len(text) * len(observed) / VIDEO_FPS for i in range(len(text))]
        right = [False] * len(text)
    return CalibrationClip(name, item.id, observed, tuple(zip(middles, right, strict=True)), picture)


def fit(clips: Sequence[CalibrationClip]) -> Calibration:
    """The calibration under which the words of `clips` are likeliest; weights of the wrong sign are left out.

    Every set counts alike, however many clips it has: of people whom the model knows there are many, and
    those who will use it are not among them.

    Raises:
        ValueError: no words, or none right, or none wrong: nothing can be learned from them.
    """
    x = np.concatenate([np.zeros((0, len(FEATURES))), *(mean_of_speech(clip.seconds()) for clip in clips)])
    y = np.array([right for clip in clips for _, right in clip.words], float)
    if len(set(y.tolist())) < 2:
        raise ValueError(
            f"a calibration needs words that are right and some that are wrong, got {int(y.sum())} right of "
            f"{len(y)}; give more clips."
        )
    words = Counter(clip.set for clip in clips for _ in clip.words)
    share = np.array([len(y) / len(words) / words[clip.set] for clip in clips for _ in clip.words])
    used = list(range(len(FEATURES)))
    while True:
        bias, weights = regress(x[:, used], y, share)
        wrong = [i for i, w in zip(used, weights, strict=True) if w * SIGNS[FEATURES[i]] < 0]
        if not wrong:
            break
        used = [i for i in used if i not in wrong]
    found = {FEATURES[i]: round(float(w), 4) for i, w in zip(used, weights, strict=True)}
    return Calibration(round(float(bias), 4), **found)


def mean_of_speech(seconds: Tensor) -> np.ndarray:
    """Frames (n, 25, F + 1) -> their features (n, F), each frame by how much of it is speech."""
    share = seconds[..., -1:] + PAUSE_WEIGHT
    return ((seconds[..., :-1] * share).sum(1) / share.sum(1)).double().numpy()


def regress(x: np.ndarray, y: np.ndarray, share: np.ndarray) -> tuple[float, np.ndarray]:
    """Ridge logistic regression by Newton's method.

    Shape: x (n, F), y (n,) of 0 and 1, share (n,) how much each counts, 1 on average -> bias, weights (F,).
    """
    mean, std = x.mean(0), x.std(0)
    std[std < 1e-9] = 1.0
    z = np.column_stack([np.ones(len(x)), (x - mean) / std])
    pull = np.diag([1e-6] + [RIDGE] * x.shape[1])
    w = np.zeros(z.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(z @ w, -50, 50)))
        slope = z.T @ (share * (y - p)) - pull @ w
        step = np.linalg.solve((z.T * (share * p * (1 - p))) @ z + pull, slope)
        w += step
        if np.abs(step).max() < 1e-9:
            break
    weights = w[1:] / std
    return float(w[0] - weights @ mean), weights


@dataclass(frozen=True)
class CalibrationReport:
    """A fitted calibration, on how many clips, and the clips that it was not fitted on, plain and worse.

    how: the way they were spoken.
    """

    calibration: Calibration
    fitted: int
    clips: tuple[CalibrationClip, ...]
    how: str = "whole"

    @cached_property
    def words(self) -> list[tuple[CalibrationClip, float, bool]]:
        """Its clip, confidence, and whether right, of every word that was reported on."""
        found = []
        for clip in self.clips:
            for frames, (_, right) in zip(clip.seconds(), clip.words, strict=True):
                found.append((clip, segment_confidence(self.calibration(frames)), right))
        return found

    def filled(self, name: str | None = None, picture: str = "plain") -> list[reliability.Bin]:
        """The bins of one set, or of all, in one picture."""
        words = [w for w in self.words if _is(w[0], name, picture)]
        return reliability.bins([w[1] for w in words], [w[2] for w in words])

    def text(self) -> str:
        """The weights, a line for each set, plain and worse, and the reliability tables of all."""
        weights = ", ".join(f"{name} {value:g}" for name, value in asdict(self.calibration).items())
        head = ["set", "picture", "clips", "words", "right", "mean confidence", "ECE", "AUC", "mean `sure`"]
        lines = ["| " + " | ".join(head) + " |", "| --- | --- |" + " ---: |" * (len(head) - 2)]
        names, pictures = sorted({c.set for c in self.clips}), sorted({c.picture for c in self.clips})
        for picture in pictures:
            lines += [self._row(name, picture) for name in [None, *(names if len(names) > 1 else [])]]
        fitted = f"Fitted on {self.fitted} clips, spoken {self.how}, plain and worse: {weights}. Held out:"
        tables = [f"\n{p.title()}:\n\n{reliability.table(self.filled(None, p))}" for p in pictures]
        return "\n".join([fitted, "", *lines, *tables])

    def _row(self, name: str | None, picture: str) -> str:
        words = [w for w in self.words if _is(w[0], name, picture)]
        sure = [self._sure(clip) for clip in self.clips if _is(clip, name, picture)]
        confidence, right = [w[1] for w in words], [w[2] for w in words]
        numbers = [np.mean(right), np.mean(confidence), reliability.ece(self.filled(name, picture))]
        numbers += [reliability.auc(confidence, right), np.mean(sure)]
        cells = [name or "all", picture, str(len(sure)), str(len(words))]
        return "| " + " | ".join([*cells, *(f"{number:.3f}" for number in numbers)]) + " |"

    def _sure(self, clip: CalibrationClip) -> float:
        meter = ConfidenceTracker()
        for frame in self.calibration(clip.observed):
            meter.add(frame)
        meter.finish()
        return meter.mean or 0.0

    def save_plot(self, path: Path) -> None:
        """The reliability plot of all plain words as SVG; the file appears whole or not at all."""
        filled = self.filled()
        title = f"{sum(b.count for b in filled)} words, ECE {reliability.ece(filled):.3f}"
        with replacing(Path(path)) as temporary:
            temporary.write_text(reliability.plot(filled, title), encoding="utf-8")


def _is(clip: CalibrationClip, name: str | None, picture: str) -> bool:
    return name in (None, clip.set) and clip.picture == picture


def calibrate(
    folder: Path,
    fit_sets: Sequence[Set],
    report_sets: Sequence[Set],
    *,
    limit: int | None = None,
    live: int | None = None,
    device: str = "auto",
    write: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> CalibrationReport:
    """Calibrate the model in `folder` on some clips, report on others, and keep the numbers in its config.

    Args:
        fit_sets, report_sets: prepared clips; a set in both is shared out, by speaker if it has several.
        limit: at most so many clips of each set, evenly spread.
        live: look-ahead in ms, as of a stream; None: whole clips.
        progress: called with (clips done, clips in all); each counts twice, plain and worse.
    Raises:
        ValueError: no such clips, words of one kind only, no such look-ahead. CheckpointError: no model, or
            a damaged one.
        ImportError: the extra `eval` is missing.
    """
    how, config = next(iter(live_configs([live]).items())) if live is not None else ("whole", None)
    stored = checkpoint.load(folder)
    model, recogniser = Lip2Speech.from_checkpoint(stored, device), PocketSphinxASR()
    work = list(product(plan(fit_sets, report_sets, limit), PICTURES))
    spoken: dict[bool, list[CalibrationClip]] = {True: [], False: []}
    for done, ((for_fit, name, item), picture) in enumerate(work, 1):
        spoken[for_fit].append(listen(model, item, name, recogniser, picture, config))
        if progress is not None:
            progress(done, len(work))
    report = CalibrationReport(fit(spoken[True]), len(spoken[True]) // 2, tuple(spoken[False]), how)
    if write:
        pipeline = dict(stored.config["inference"]) | {"confidence": asdict(report.calibration)}
        checkpoint.replace_config(folder, dict(stored.config) | {"inference": pipeline})
    return report


def plan(
    fit_sets: Sequence[Set], report_sets: Sequence[Set], limit: int | None
) -> list[tuple[bool, str, EvaluationItem]]:
    """Every clip once: whether it is for the fit, the name of its set, the clip.

    Raises:
        ValueError: a set without clips whose text the recogniser knows, or nothing left for one of the two.
    """
    work: list[tuple[bool, str, EvaluationItem]] = []
    for root, split in dict.fromkeys([*fit_sets, *report_sets]):
        items = [i for i in choose(prepared_items(root, split), split, limit) if fits_grammar(i.text)]
        if not items:
            raise ValueError(f"{root}: no clip of split {split!r} says a sentence that the recogniser knows.")
        roles = [(root, split) in sets for sets in (fit_sets, report_sets)]
        shares = share_out(items) if all(roles) else [roles[0]] * len(items)
        name = f"{root.name}:{split}"
        work += [(share, name, item) for share, item in zip(shares, items, strict=True)]
    if {for_fit for for_fit, _, _ in work} != {True, False}:
        raise ValueError("give clips to fit on and clips to report on; what is in both needs two of them.")
    return work


def share_out(items: Sequence[EvaluationItem]) -> list[bool]:
    """Half of the items for the fit (True): every other speaker, or every other clip of a single one."""
    speakers = sorted({item.speaker for item in items})
    if len(speakers) == 1:
        return [i % 2 == 0 for i in range(len(items))]
    return [speakers.index(item.speaker) % 2 == 0 for item in items]
