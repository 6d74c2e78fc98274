"""Pictures of an evaluation as PNG: spectrograms side by side, and every utterance as a point (matplotlib).

Drawn into memory by Agg, with no display and no global state of pyplot. Colours are of one scale per picture.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from lip2speech.audio.io import replacing
from lip2speech.audio.mel import MelConfig, band_edges
from lip2speech.evaluation.dataset import SynthesizedAudio
from lip2speech.evaluation.metrics.intelligibility import log_mel
from lip2speech.evaluation.metrics.registry import COLUMNS
from lip2speech.evaluation.results import EvaluationReport, compare, paired
from lip2speech.evaluation.scorer import ResultRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, POINT = "#333333", "#2a6fb0"
TICKS_HZ = (250, 500, 1000, 2000, 4000)
WIDTH, HEIGHT = 4.0, 2.4  # inches of one panel


class PlotWriter:
    """Draws the spectrograms of the first `count` clips that are shown to it, a PNG for each, into a folder.

    Raises:
        FileExistsError: a picture would be replaced, and `overwrite` is not set.
    """

    def __init__(self, folder: Path, count: int, *, overwrite: bool = False) -> None:
        self.folder, self.left, self.overwrite = folder, count, overwrite

    def __call__(self, id: str, reference: Tensor, sounds: dict[str, SynthesizedAudio]) -> None:
        if self.left < 1:
            return
        self.left -= 1
        wavs = {"reference": reference, **{k: v.wav for k, v in sounds.items() if k != "true sound"}}
        self.save(spectrograms(id, wavs), f"spectrogram_{_file_name(id)}.png")

    def points(self, report: EvaluationReport) -> None:
        """The pitch of every utterance of a run beside its reference's, where the meter f0 was asked for."""
        if (picture := pitch_scatter(report.rows)) is not None:
            self.save(picture, "pitch.png")

    def pairs(self, a: EvaluationReport, b: EvaluationReport) -> None:
        """Every figure of every utterance in run `a` against run `b`, one PNG per row."""
        for name, picture in run_scatters(a, b).items():
            self.save(picture, f"compare_{_file_name(name)}.png")

    def save(self, picture: Figure, name: str) -> None:
        """Write a picture into the folder; it appears whole or not at all."""
        path = self.folder / name
        if path.exists() and not self.overwrite:
            raise FileExistsError(f"{path}: already exists; pass --overwrite to replace it.")
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            picture.savefig(temporary, format="png", dpi=100)


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)


def spectrograms(title: str, wavs: dict[str, Tensor]) -> Figure:
    """Log-mels of some (T_a,) side by side, up to three in a line, with the same colours and clock."""
    mels = {name: log_mel(wav) for name, wav in wavs.items()}
    columns = min(3, len(mels))
    picture, places = _panels(len(mels), columns)
    top = max(float(np.quantile(mel, 0.998)) for mel in mels.values())  # a click must not darken the rest
    centres = band_edges(MelConfig())[1:-1].numpy()
    for place, (name, mel) in zip(places, mels.items(), strict=True):
        seconds = mel.shape[1] / MelConfig().frame_rate
        image = place.imshow(
            mel * 20 / math.log(10), origin="lower", aspect="auto", cmap="magma",
            vmin=20 * (top / math.log(10) - 3), vmax=20 * top / math.log(10),
            extent=(0, seconds, -0.5, len(mel) - 0.5),
        )  # fmt: skip
        place.set_yticks(np.interp(TICKS_HZ, centres, np.arange(len(mel))), [f"{hz:g}" for hz in TICKS_HZ])
        place.set_title(name, fontsize=9, color=INK)
        place.set_xlabel("s", fontsize=8)
        place.set_ylabel("Hz", fontsize=8)
    picture.colorbar(image, ax=places, label="dB", shrink=0.8)
    picture.suptitle(title, fontsize=10, color=INK)
    return picture


def pitch_scatter(rows: Sequence[ResultRow]) -> Figure | None:
    """The median F0 of each utterance against its reference's, a panel per row; None without the meter f0."""
    panels = {
        row.name: [
            (s.f0_reference_hz, s.f0_hz) for s in row.scores if math.isfinite(s.f0_reference_hz + s.f0_hz)
        ]
        for row in rows
    }
    panels = {name: points for name, points in panels.items() if points}
    return scatter("median F0, Hz", "reference", "speech", panels) if panels else None


def run_scatters(a: EvaluationReport, b: EvaluationReport) -> dict[str, Figure]:
    """By row that both runs have: every column's figure of each utterance in `a` against that in `b`."""
    found = {}
    for one, other, changes in compare(a, b):
        panels = {
            COLUMNS[key].heading: [
                tuple(value / weight if COLUMNS[key].share_of else value for value, weight in pair)
                for pair in paired(one, other, COLUMNS[key])
            ]
            for key in changes
        }
        found[one.name] = scatter(one.name, f"a: {a.model}", f"b: {b.model}", panels)
    return found


def scatter(title: str, x: str, y: str, panels: dict[str, list[Any]]) -> Figure:
    """Points (x, y) in one square panel each, with the line on which both are equal."""
    picture, places = _panels(len(panels), min(4, len(panels)), square=True)
    for place, (name, points) in zip(places, panels.items(), strict=True):
        values = np.array(points, dtype=np.float64)
        low, high = float(values.min()), float(values.max())
        margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
        ends = (low - margin, high + margin)
        place.plot(ends, ends, color="#999999", linewidth=0.8, linestyle="--")
        place.scatter(*values.T, s=14, color=POINT, alpha=0.5, linewidths=0)
        place.set(xlim=ends, ylim=ends, aspect="equal")
        place.set_title(f"{name} ({len(values)})", fontsize=9, color=INK)
        place.set_xlabel(x, fontsize=8)
        place.set_ylabel(y, fontsize=8)
    picture.suptitle(title, fontsize=10, color=INK)
    return picture


def _panels(count: int, columns: int, *, square: bool = False) -> tuple[Figure, list[Any]]:
    """A picture with `count` panels, `columns` in a line."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = -(-count // columns)
    side = (3.0, 3.1) if square else (WIDTH, HEIGHT)
    picture = Figure(figsize=(side[0] * columns + 0.8, side[1] * lines + 0.5), layout="constrained")
    FigureCanvasAgg(picture)
    places = [picture.add_subplot(lines, columns, i + 1) for i in range(count)]
    for place in places:
        place.tick_params(labelsize=7, colors=INK)
    return picture, places
