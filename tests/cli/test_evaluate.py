"""`lip2speech evaluate model | files | compare | speaker-similarity` (lip2speech/cli/evaluate.py)."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from lip2speech.audio.io import write_wav
from lip2speech.cli import app
from tests.factories import prepare, save_speaker_encoder


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


@pytest.fixture
def audio(tmp_path: Path) -> tuple[Path, Path]:
    """One second of noise, and the same with other noise added."""
    rng = np.random.default_rng(0)
    wav = 0.1 * rng.standard_normal(16000).astype(np.float32)
    write_wav(tmp_path / "a.wav", wav)
    write_wav(tmp_path / "b.wav", wav + 0.1 * rng.standard_normal(16000).astype(np.float32))
    return tmp_path / "a.wav", tmp_path / "b.wav"


def test_files_are_evaluated_saved_and_plotted(audio: tuple[Path, Path], tmp_path: Path) -> None:
    save, plots = tmp_path / "1.json", tmp_path / "p"
    result = evaluate("files", *audio, "--metrics", "si_sdr", "--save", save, "--plots", plots)
    assert result.exit_code == 0, result.output
    assert "| hypothesis | 1 | 0.0 [" in result.stdout.replace("-0.0", "0.0")
    assert [path.name for path in plots.iterdir()] == ["spectrogram_a.png"]
    assert "si_sdr" in json.loads(save.read_text())["metrics"]


def test_two_saved_reports_are_compared(audio: tuple[Path, Path], tmp_path: Path) -> None:
    (a, b), one, two = audio, tmp_path / "1.json", tmp_path / "2.json"
    assert evaluate("files", a, b, "--metrics", "si_sdr", "--save", one).exit_code == 0
    assert evaluate("files", a, a, "--metrics", "si_sdr", "--save", two).exit_code == 0
    result = evaluate("compare", one, two, "--plots", tmp_path / "p")
    assert result.exit_code == 0, result.output
    assert "| SI-SDR (dB) |" in result.stdout
    assert "| 60.0 [60.0, 60.0] |" in result.stdout
    assert [path.name for path in (tmp_path / "p").iterdir()] == ["compare_hypothesis.png"]


def test_reports_with_different_metrics_are_not_compared(audio: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("mel", "si_sdr"):
        evaluate("files", *audio, "--metrics", name, "--save", tmp_path / f"{name}.json")
    result = evaluate("compare", tmp_path / "mel.json", tmp_path / "si_sdr.json")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert "measured differently: mel is [1: mean absolute difference" in result.stderr


def test_options_override_the_config_of_a_model_run(tiny_system: Path, tmp_path: Path) -> None:
    root = prepare(tmp_path / "clips", splits="test test train")
    config = tmp_path / "run.yaml"
    config.write_text(f"root: {root}\nmodel: {tiny_system}\nvocoder: [codes]\nmetrics: [stoi]\nlimit: 1\n")
    save = tmp_path / "r.json"
    result = evaluate(
        "model", "--config", config, "--metrics", "mel", "--vocoder", "mel", "--save", save, "--device", "cpu"
    )
    assert result.exit_code == 0, result.output
    report = json.loads(save.read_text())
    names = [row["name"] for row in report["rows"]]
    assert "mel" in names
    assert "codes" not in names
    assert "mel" in report["metrics"]
    assert "stoi" not in report["metrics"]
    assert {row["n"] for row in report["rows"]} == {1}
    assert report["fingerprint"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model"], "give the data: ROOT, or the key root in --config"),
        (["model", "--config", "none.yaml"], "none.yaml: cannot be read"),
        (["model", "x", "--corpus", "lrs3"], "lrs3"),
        (["files", "x"], "Missing argument"),
        (["files", "x", "y"], "x: no such file or folder"),
        (["files", "x", "y", "--vocoder", "mel"], "No such option"),
        (["compare", "y", "z"], "y: No such file or directory"),
    ],
)
def test_invalid_arguments_are_refused(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = evaluate(*arguments)
    assert result.exit_code in (2, 3)
    assert message in result.stderr


def test_an_unknown_metric_or_a_missing_speaker_encoder_is_named(audio: tuple[Path, Path]) -> None:
    assert "unknown metric 'mcdx'" in evaluate("files", *audio, "--metrics", "mcdx").stderr
    assert "needs --speaker-encoder" in evaluate("files", *audio, "--metrics", "similarity").stderr


def test_an_existing_report_is_not_replaced_without_overwrite(
    audio: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "r.json").write_text("mine")
    assert evaluate("files", *audio, "--save", tmp_path / "r.json").exit_code == 2
    assert (tmp_path / "r.json").read_text() == "mine"


def test_speaker_similarity_prints_a_table(tiny_system: Path, tmp_path: Path) -> None:
    root = prepare(tmp_path / "clips", splits="test " * 8, speakers="ann ben", frames=20)
    encoder = save_speaker_encoder(tmp_path / "encoder")
    result = evaluate(
        "speaker-similarity", f"{root}:test", "--speaker-encoder", encoder, "--model", tiny_system,
        "--clips-per-speaker", "1", "--quiet",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.output.count("| clips:test |") == 3


@pytest.mark.parametrize("name", ["nocolon", ":test", "folder:"])
def test_a_set_without_a_split_is_refused(name: str, tmp_path: Path) -> None:
    result = evaluate("speaker-similarity", name, "--speaker-encoder", tmp_path)
    assert result.exit_code == 2
    assert "expected ROOT:SPLIT" in result.stderr
