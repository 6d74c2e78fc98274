"""Calibrate a model on some prepared clips and evaluate the calibration on others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

from lip2speech import checkpoint
from lip2speech.evaluation.asr.pocketsphinx import PocketSphinxASR, in_grammar
from lip2speech.evaluation.calibration.fit import fit_calibration
from lip2speech.evaluation.calibration.report import CalibrationReport
from lip2speech.evaluation.calibration.words import CONDITIONS, CalibrationClip, score_words
from lip2speech.evaluation.dataset import EvaluationItem, Progress, prepared_items, select_items
from lip2speech.evaluation.streaming import stream_configs
from lip2speech.pipeline import Lip2Speech

ClipSet = tuple[Path, str]
"""A folder of prepared clips and one of its splits."""


@dataclass(frozen=True)
class CalibrationConfig:
    """The clips of a calibration, and how they are synthesized.

    Args:
        fit_sets, eval_sets: a set in both is split in half, by speaker if it has several.
        limit: at most this many clips of each set, evenly spaced.
        lookahead_ms: streaming with this look-ahead; offline if None.
    """

    fit_sets: Sequence[ClipSet]
    eval_sets: Sequence[ClipSet]
    limit: int | None = None
    lookahead_ms: int | None = None


def calibrate(
    folder: Path,
    config: CalibrationConfig,
    *,
    device: str = "auto",
    write: bool = True,
    progress: Progress | None = None,
) -> CalibrationReport:
    """Calibrate the model in a folder, and store the calibration in its config.

    Args:
        folder: of the model.
        config: the clips.
        device: to synthesize on.
        write: False leaves the folder unchanged.
        progress: called with (clips done, clips in all); each counts twice, clean and degraded.
    Raises:
        ValueError: no such clips, all words right or all wrong, invalid look-ahead.
        CheckpointError: missing or damaged model. ImportError: the extra `eval` is missing.
    """
    mode, stream = "offline", None
    if config.lookahead_ms is not None:
        mode, stream = next(iter(stream_configs([config.lookahead_ms]).items()))
    stored = checkpoint.load(folder)
    model, asr = Lip2Speech.from_checkpoint(stored, device), PocketSphinxASR()
    work = list(product(split_sets(config), CONDITIONS))
    clips: dict[bool, list[CalibrationClip]] = {True: [], False: []}
    for done, ((for_fit, name, item), condition) in enumerate(work, 1):
        clips[for_fit].append(score_words(model, item, name, asr, condition, stream))
        if progress is not None:
            progress(done, len(work))
    calibration, n_fit_clips = fit_calibration(clips[True]), len(clips[True]) // len(CONDITIONS)
    if write:
        inference = dict(stored.config["inference"]) | {"confidence": asdict(calibration)}
        checkpoint.replace_config(folder, dict(stored.config) | {"inference": inference})
    return CalibrationReport(calibration, n_fit_clips, tuple(clips[False]), mode)


def split_sets(config: CalibrationConfig) -> list[tuple[bool, str, EvaluationItem]]:
    """Every clip once, as (whether it is for the fit, name of its set, clip).

    Raises:
        ValueError: a set without clips in the ASR's grammar, or no clip left for the fit or the evaluation.
    """
    work: list[tuple[bool, str, EvaluationItem]] = []
    for root, split in dict.fromkeys([*config.fit_sets, *config.eval_sets]):
        items = select_items(prepared_items(root, split), split, config.limit)
        items = [item for item in items if in_grammar(item.text)]
        if not items:
            raise ValueError(f"{root}: no clip of split {split!r} with a sentence of the GRID grammar.")
        in_fit, in_eval = ((root, split) in sets for sets in (config.fit_sets, config.eval_sets))
        for_fit = halve(items) if in_fit and in_eval else [in_fit] * len(items)
        name = f"{root.name}:{split}"
        work += [(fit, name, item) for fit, item in zip(for_fit, items, strict=True)]
    if {for_fit for for_fit, _, _ in work} != {True, False}:
        raise ValueError("both fit and evaluation need clips; a set used for both needs at least two.")
    return work


def halve(items: Sequence[EvaluationItem]) -> list[bool]:
    """Half of the items for the fit (True): every other speaker, or every other clip of a single one."""
    speakers = sorted({item.speaker for item in items})
    if len(speakers) == 1:
        return [i % 2 == 0 for i in range(len(items))]
    return [speakers.index(item.speaker) % 2 == 0 for item in items]
