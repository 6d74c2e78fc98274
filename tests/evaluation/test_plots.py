"""Pictures: as many as were asked for, with one panel per sound or figure, and no older one replaced."""

from pathlib import Path

import pytest
import torch

from lip2speech.evaluation.dataset import SynthesizedAudio
from lip2speech.evaluation.plots import PlotWriter, pitch_scatter, run_scatters, spectrograms
from lip2speech.evaluation.results import EvaluationReport
from lip2speech.evaluation.scorer import Score, summarise

WAV = torch.linspace(-1, 1, 8000).sin()


def run(shift: float) -> EvaluationReport:
    scores = [
        Score(f"c{i}", words=2, edits=1, estoi=i / 9 + shift, f0_hz=110 + i, f0_reference_hz=120)
        for i in range(9)
    ]
    return EvaluationReport(f"m{shift}", "test", (summarise("mel", scores),), {})


def test_the_first_clips_are_drawn_and_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    gallery = PlotWriter(tmp_path / "p", 1)
    gallery("s1/a b", WAV, {"mel": SynthesizedAudio(0.5 * WAV)})
    gallery("s1/c", WAV, {"mel": SynthesizedAudio(WAV)})
    (path,) = (tmp_path / "p").iterdir()
    assert path.name == "spectrogram_s1_a_b.png" and path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(FileExistsError, match="pass --overwrite"):
        PlotWriter(tmp_path / "p", 1)("s1/a b", WAV, {})
    PlotWriter(tmp_path / "p", 1, overwrite=True)("s1/a b", WAV, {})


def test_every_sound_has_a_panel_on_one_colour_scale() -> None:
    picture = spectrograms("a", {"reference": WAV, "mel": 0.1 * WAV, "codes": WAV, "channel": WAV})
    panels = [place for place in picture.axes if place.get_title()]
    assert [place.get_title() for place in panels] == ["reference", "mel", "codes", "channel"]
    assert len({place.images[0].get_clim() for place in panels}) == 1


def test_every_utterance_is_a_point() -> None:
    (picture,) = run_scatters(run(0), run(0.1)).values()
    panels = {place.get_title(): place.collections[0].get_offsets() for place in picture.axes}
    assert set(panels) == {"WER, edit (9)", "ESTOI (9)"}
    assert panels["ESTOI (9)"][2].tolist() == pytest.approx([2 / 9, 2 / 9 + 0.1])
    assert panels["WER, edit (9)"][0].tolist() == [0.5, 0.5]


def test_the_pitch_of_a_run_is_drawn_where_it_was_measured() -> None:
    picture = pitch_scatter(run(0).rows)
    assert picture is not None and picture.axes[0].collections[0].get_offsets()[3].tolist() == [120, 113]
    assert pitch_scatter((summarise("mel", [Score("a")]),)) is None
