"""`evaluate` on files and on saved runs: which use is meant, what is refused, what is written."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from lip2speech.audio.io import write_wav
from lip2speech.cli import app


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


@pytest.fixture
def sounds(tmp_path: Path) -> tuple[Path, Path]:
    """A second of noise, and the same with other noise upon it."""
    rng = np.random.default_rng(0)
    wav = 0.1 * rng.standard_normal(16000).astype(np.float32)
    write_wav(tmp_path / "a.wav", wav)
    write_wav(tmp_path / "b.wav", wav + 0.1 * rng.standard_normal(16000).astype(np.float32))
    return tmp_path / "a.wav", tmp_path / "b.wav"


def test_two_files_are_measured_saved_and_compared(sounds: tuple[Path, Path], tmp_path: Path) -> None:
    (a, b), one, two = sounds, tmp_path / "1.json", tmp_path / "2.json"
    result = evaluate(a, b, "--measure", "sisdr", "--save", one, "--plots", tmp_path / "p")
    assert result.exit_code == 0 and "| speech | 1 | 0.0 [" in result.stdout.replace("-0.0", "0.0")
    assert [p.name for p in (tmp_path / "p").iterdir()] == ["spectrogram_a.png"]
    assert evaluate(a, a, "--measure", "sisdr", "--save", two).exit_code == 0
    result = evaluate("--compare", one, two)
    assert (
        result.exit_code == 0
        and "| SI-SDR dB |" in result.stdout
        and "| 60.0 [60.0, 60.0] |" in result.stdout
    )


def test_runs_of_other_meters_are_not_compared(sounds: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("mel", "sisdr"):
        evaluate(*sounds, "--measure", name, "--save", tmp_path / f"{name}.json")
    result = evaluate("--compare", tmp_path / "mel.json", tmp_path / "sisdr.json")
    assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1
    assert "measured differently: mel is [1: mean distance" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one folder (ROOT), two paths (REF HYP), or --compare A B alone"),
        (["x", "y", "z"], "give one folder"),
        (["x", "--compare", "y", "z"], "give one folder"),
        (["--compare", "y", "z", "--measure", "mel"], "--measure has no meaning with --compare"),
        (["--compare", "y", "z"], "y: No such file or directory"),
        (["x", "y", "--route", "mel"], "--route has no meaning with REF HYP"),
        (["x", "y"], "x: no such file or folder"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = evaluate(*arguments)
    assert result.exit_code in (2, 3) and message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_meter_that_is_unknown_or_lacks_its_judge_is_named(sounds: tuple[Path, Path]) -> None:
    assert "no meter is called 'mcdx'" in evaluate(*sounds, "--measure", "mcdx").stderr
    assert "similarity needs a judge" in evaluate(*sounds, "--measure", "similarity").stderr


def test_a_saved_run_is_not_replaced_unasked(sounds: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("mine")
    assert evaluate(*sounds, "--save", tmp_path / "r.json").exit_code == 2
    assert (tmp_path / "r.json").read_text() == "mine"
