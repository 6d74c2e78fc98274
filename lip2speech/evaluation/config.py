"""The settings of an evaluation, and of a whole `lip2speech evaluate model` run as a YAML file holds them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lip2speech.evaluation.metrics.registry import MetricsConfig

Corpus = Literal["prepared", "grid", "synth"]


@dataclass(frozen=True)
class EvaluationConfig(MetricsConfig):
    """How a model is evaluated.

    Args:
        split: the clips to synthesize; other splits only provide voices.
        vocoder: some of the model's vocoders; all if empty.
        limit: at most this many clips, evenly spaced.
        lookahead_ms: one streaming row per look-ahead; only for video files.
        workers: parallel processes that compute metrics. They slow down synthesis: use 0 with "speed".
    """

    split: str = "test"
    vocoder: tuple[str, ...] = ()
    limit: int | None = None
    lookahead_ms: tuple[int, ...] = ()
    workers: int = 0


@dataclass(frozen=True)
class EvaluationRunConfig(EvaluationConfig):
    """One run of `lip2speech evaluate model`; every field is a key of --config and an option of the command.

    Args:
        root: the data.
        corpus: layout of `root`; all but "prepared" run end to end from the video files.
        model: name or folder.
        device: auto, cpu, cuda, cuda:1, mps.
        save: JSON file of the report.
        plots: folder of PNG plots.
        n_plots: number of clips with a spectrogram plot.
    """

    root: Path | None = None
    corpus: Corpus = "prepared"
    model: str = "default"
    device: str = "auto"
    save: Path | None = None
    plots: Path | None = None
    n_plots: int = 8
