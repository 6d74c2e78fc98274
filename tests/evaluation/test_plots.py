"""Plots of an evaluation (lip2speech/evaluation/plots.py)."""

from pathlib import Path

import pytest
import torch

from lip2speech.evaluation.dataset import SynthesizedAudio
from lip2speech.evaluation.plots import PlotWriter, plot_comparison, plot_f0, plot_spectrograms
from lip2speech.evaluation.report import EvaluationReport
from lip2speech.evaluation.results import Score, summarize

WAV = torch.linspace(-1, 1, 8000).sin()


def make_report(shift: float) -> EvaluationReport:
    scores = [
        Score(f"c{i}", words=2, word_edits=1, estoi=i / 9 + shift, f0_hz=110 + i, f0_reference_hz=120)
        for i in range(9)
    ]
    return EvaluationReport(f"m{shift}", "test", (summarize("mel", scores),), {})


def test_spectrograms_are_plotted_for_the_requested_number_of_clips(tmp_path: Path) -> None:
    writer = PlotWriter(tmp_path / "p", 1)
    writer("s1/a b", WAV, {"mel": SynthesizedAudio(0.5 * WAV)})
    writer("s1/c", WAV, {"mel": SynthesizedAudio(WAV)})
    (path,) = (tmp_path / "p").iterdir()
    assert path.name == "spectrogram_s1_a_b.png"
    assert path.read_bytes().startswith(b"\x89PNG")


def test_an_existing_plot_is_replaced_only_with_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "spectrogram_a.png"
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="pass --overwrite"):
        PlotWriter(tmp_path, 1)("a", WAV, {})
    assert path.read_bytes() == b"mine"
    PlotWriter(tmp_path, 1, overwrite=True)("a", WAV, {})
    assert path.read_bytes().startswith(b"\x89PNG")


def test_spectrograms_share_one_color_scale() -> None:
    figure = plot_spectrograms("a", {"reference": WAV, "mel": 0.1 * WAV, "codes": WAV, "channel": WAV})
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == ["reference", "mel", "codes", "channel"]
    assert len({axes.images[0].get_clim() for axes in panels}) == 1


def test_a_comparison_has_a_panel_per_metric_and_a_point_per_utterance() -> None:
    (figure,) = plot_comparison(make_report(0), make_report(0.1)).values()
    panels = {axes.get_title(): axes.collections[0].get_offsets() for axes in figure.axes}
    assert set(panels) == {"WER (9)", "ESTOI (9)"}
    assert panels["ESTOI (9)"][2].tolist() == pytest.approx([2 / 9, 2 / 9 + 0.1])
    assert panels["WER (9)"][0].tolist() == [0.5, 0.5]


def test_f0_is_plotted_against_the_reference_only_if_it_was_measured() -> None:
    figure = plot_f0(make_report(0).rows)
    assert figure is not None
    assert figure.axes[0].collections[0].get_offsets()[3].tolist() == [120, 113]
    assert plot_f0((summarize("mel", [Score("a")]),)) is None
