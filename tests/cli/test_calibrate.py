"""`lip2speech calibrate` (lip2speech/cli/calibrate.py)."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from lip2speech.cli import app
from lip2speech.evaluation.calibration import calibrate as calibrate_module
from lip2speech.pipeline import Lip2Speech
from tests.evaluation.calibration.conftest import TEXT, FakeASR
from tests.factories import prepare, save_system


def calibrate(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["calibrate", *map(str, arguments)])


def test_the_tables_are_printed_the_diagram_drawn_and_the_model_calibrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate_module, "PocketSphinxASR", FakeASR)
    root = prepare(tmp_path / "set", splits="test " * 8 + "valid valid", text=TEXT)
    folder, plot = save_system(tmp_path / "model"), tmp_path / "plot.svg"
    arguments = [folder, "--fit-set", f"{root}:test", "--eval-set", f"{root}:valid", "--plot", plot]
    result = calibrate(*arguments, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "Fitted on 8 clips, offline, clean and degraded: bias " in result.stdout
    assert "| confidence | words | mean confidence | accuracy |" in result.stdout
    assert "<svg" in plot.read_text()
    assert Lip2Speech.from_pretrained(folder, "cpu").config.confidence is not None
    again = calibrate(*arguments)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr


@pytest.mark.parametrize("name", ["nocolon", ":test", "folder:"])
def test_a_set_without_a_split_is_refused(name: str, tmp_path: Path) -> None:
    result = calibrate(tmp_path, "--fit-set", name, "--eval-set", "a:b")
    assert result.exit_code == 2
    assert "expected ROOT:SPLIT" in result.stderr


def test_a_diagram_that_is_no_svg_is_refused(tmp_path: Path) -> None:
    result = calibrate(tmp_path, "--fit-set", "a:b", "--eval-set", "a:b", "--plot", "plot.png")
    assert result.exit_code == 2
    assert "only SVG is supported" in result.stderr
