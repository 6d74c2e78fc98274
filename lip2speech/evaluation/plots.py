"""Plots of an evaluation (matplotlib): spectrograms side by side, and scatter plots over utterances.

Rendered without a display and without the global state of pyplot. One color scale per figure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from lip2speech.audio.mel import MelConfig, band_edges
from lip2speech.audio.plot import COLORMAP
from lip2speech.evaluation.compare import compare, paired_values
from lip2speech.evaluation.dataset import SynthesizedAudio
from lip2speech.evaluation.metrics.common import log_mel
from lip2speech.evaluation.metrics.registry import COLUMNS
from lip2speech.evaluation.report import EvaluationReport
from lip2speech.evaluation.results import ResultRow
from lip2speech.utils.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEXT_COLOR, POINT_COLOR, LINE_COLOR = "#333333", "#2a6fb0", "#999999"
FREQUENCY_TICKS_HZ = (250, 500, 1000, 2000, 4000)
PANEL_SIZE, SQUARE_PANEL_SIZE = (4.0, 2.4), (3.0, 3.1)  # inches
MAX_QUANTILE = 0.998
"""Of the mel levels, at the top of the color scale, so that a click does not darken everything else."""
DYNAMIC_RANGE_DB = 60

Points = Sequence[tuple[float, float]]


class PlotWriter:
    """Writes the plots of an evaluation as PNG files into a folder.

    Called with a clip, it plots the spectrograms of the first `n_spectrograms`.

    Raises:
        FileExistsError: a file exists, and `overwrite` is not set.
    """

    def __init__(self, folder: Path, n_spectrograms: int = 0, *, overwrite: bool = False) -> None:
        self.folder, self.n_left, self.overwrite = folder, n_spectrograms, overwrite

    def __call__(self, id: str, reference: Tensor, audio: dict[str, SynthesizedAudio]) -> None:
        if self.n_left < 1:
            return
        self.n_left -= 1
        wavs = {"reference": reference, **{name: one.wav for name, one in audio.items()}}
        self._save(plot_spectrograms(id, wavs), f"spectrogram_{id}")

    def save_f0(self, report: EvaluationReport) -> None:
        """Median F0 against the reference's, if the metric f0 was computed."""
        if (figure := plot_f0(report.rows)) is not None:
            self._save(figure, "f0")

    def save_comparison(self, a: EvaluationReport, b: EvaluationReport) -> None:
        """Every metric of every utterance in `a` against `b`, one file per row."""
        for name, figure in plot_comparison(a, b).items():
            self._save(figure, f"compare_{name}")

    def _save(self, figure: Figure, name: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / (re.sub(r"[^\w.-]+", "_", name) + ".png")
        save_figure(figure, path, overwrite=self.overwrite)


def save_figure(figure: Figure, path: Path, *, overwrite: bool = False) -> None:
    """Write a figure atomically, in the format of the suffix; SVG files are reproducible."""
    from matplotlib import rc_context

    if path.exists() and not overwrite:
        raise FileExistsError(f"{path}: already exists; pass --overwrite to replace it.")
    svg = path.suffix.lower() == ".svg"
    with atomic_write(path) as temporary, rc_context({"svg.hashsalt": path.stem}):
        metadata = {"Date": None} if svg else {}
        figure.savefig(temporary, format="svg" if svg else "png", dpi=100, metadata=metadata)


def plot_spectrograms(title: str, wavs: Mapping[str, Tensor]) -> Figure:
    """Log-mels of several (T_a,), up to three per line, with the same color and time scale."""
    mels = {name: log_mel(wav) for name, wav in wavs.items()}
    figure, panels = subplots(len(mels), columns=3)
    nats_to_db = 20 / math.log(10)
    top = nats_to_db * max(float(np.quantile(mel, MAX_QUANTILE)) for mel in mels.values())
    centers = band_edges(MelConfig())[1:-1].numpy()
    for axes, (name, mel) in zip(panels, mels.items(), strict=True):
        seconds = mel.shape[1] / MelConfig().frame_rate
        image = axes.imshow(
            mel * nats_to_db, origin="lower", aspect="auto", cmap=COLORMAP,
            vmin=top - DYNAMIC_RANGE_DB, vmax=top, extent=(0, seconds, -0.5, len(mel) - 0.5),
        )  # fmt: skip
        ticks = np.interp(FREQUENCY_TICKS_HZ, centers, np.arange(len(mel)))
        axes.set_yticks(ticks, [f"{hz:g}" for hz in FREQUENCY_TICKS_HZ])
        _label(axes, name, "s", "Hz")
    figure.colorbar(image, ax=panels, label="dB", shrink=0.8)
    figure.suptitle(title, fontsize=10, color=TEXT_COLOR)
    return figure


def plot_f0(rows: Sequence[ResultRow]) -> Figure | None:
    """Median F0 of each utterance against its reference's, a panel per row; None without the metric f0."""
    panels: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        points = [(s.f0_reference_hz, s.f0_hz) for s in row.scores]
        if finite := [point for point in points if all(map(math.isfinite, point))]:
            panels[row.name] = finite
    return scatter_panels("median F0, Hz", "reference", "synthesized", panels) if panels else None


def plot_comparison(a: EvaluationReport, b: EvaluationReport) -> dict[str, Figure]:
    """By row in both reports: every metric of each utterance in `a` against `b`."""
    figures = {}
    for row in compare(a, b):
        panels: dict[str, list[tuple[float, float]]] = {}
        for column in (COLUMNS[key] for key in row.differences):
            pairs = paired_values(row.a, row.b, column)
            panels[column.heading] = [
                (x / wx, y / wy) if column.denominator else (x, y) for (x, wx), (y, wy) in pairs
            ]
        figures[row.a.name] = scatter_panels(row.a.name, f"a: {a.model}", f"b: {b.model}", panels)
    return figures


def scatter_panels(title: str, x_label: str, y_label: str, panels: Mapping[str, Points]) -> Figure:
    """Points (x, y), one square panel per name, with the identity line."""
    figure, all_axes = subplots(len(panels), columns=4, square=True)
    for axes, (name, points) in zip(all_axes, panels.items(), strict=True):
        values = np.array(points, dtype=np.float64)
        low, high = float(values.min()), float(values.max())
        margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
        ends = (low - margin, high + margin)
        axes.plot(ends, ends, color=LINE_COLOR, linewidth=0.8, linestyle="--")
        axes.scatter(*values.T, s=14, color=POINT_COLOR, alpha=0.5, linewidths=0)
        axes.set(xlim=ends, ylim=ends, aspect="equal")
        _label(axes, f"{name} ({len(values)})", x_label, y_label)
    figure.suptitle(title, fontsize=10, color=TEXT_COLOR)
    return figure


def _label(axes: Any, title: str, x_label: str, y_label: str) -> None:
    axes.set_title(title, fontsize=9, color=TEXT_COLOR)
    axes.set_xlabel(x_label, fontsize=8)
    axes.set_ylabel(y_label, fontsize=8)


def subplots(n: int, *, columns: int = 1, square: bool = False) -> tuple[Figure, list[Any]]:
    """A figure with `n` panels, up to `columns` per line."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(columns, n)
    lines = -(-n // columns)
    width, height = SQUARE_PANEL_SIZE if square else PANEL_SIZE
    figure = Figure(figsize=(width * columns + 0.8, height * lines + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = [figure.add_subplot(lines, columns, i + 1) for i in range(n)]
    for axes in panels:
        axes.tick_params(labelsize=7, colors=TEXT_COLOR)
    return figure, panels
