"""`lip2speech adapt` (lip2speech/cli/adapt.py)."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lip2speech.audio.io import write_wav
from lip2speech.cli import app
from lip2speech.cli.adapt import progress_line, table
from lip2speech.pipeline import Lip2Speech
from lip2speech.train.adapt.evaluate import AdaptationMetrics
from tests.factories import save_system, synthetic_voice

ROI = np.random.default_rng(0).integers(0, 256, (16, 96, 96), dtype=np.uint8)


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["adapt", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three prompts with videos whose crops are fixed, and with audio, so that nothing is synthesized."""
    own = tmp_path / "own.txt"
    own.write_text("good morning\n\nhow are you\nthank you\n")
    assert run("prompts", tmp_path / "me", "--prompts", own)[0] == 0
    for i in (1, 2, 3):
        (tmp_path / "me" / f"00{i}.mp4").touch()
        write_wav(tmp_path / "me" / f"00{i}.wav", synthetic_voice(14, 100.0 + 10 * i))
    report = type("Report", (), {"face_detection_rate": 1.0})
    monkeypatch.setattr("lip2speech.video.load_roi", lambda video: (ROI, report))
    return tmp_path / "me"


def test_prompts_are_written_and_printed(tmp_path: Path) -> None:
    code, out, _ = run("prompts", tmp_path / "me", "--count", 3)
    assert code == 0
    assert len(out.splitlines()) == 3
    first = (tmp_path / "me" / "001.txt").read_text().strip()
    assert out.startswith(f"001  {first}\n")
    assert len(first.split()) == 6


def test_prompts_do_not_overwrite_a_folder(tmp_path: Path) -> None:
    (tmp_path / "me").mkdir()
    (tmp_path / "me" / "001.txt").write_text("mine")
    code, _, error = run("prompts", tmp_path / "me")
    assert code == 2
    assert "is not empty" in error
    assert error.count("\n") == 1


def test_a_prompt_list_without_sentences_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("\n")
    code, _, error = run("prompts", tmp_path / "me", "--prompts", tmp_path / "own.txt")
    assert code == 2
    assert "no sentences" in error
    assert not (tmp_path / "me").exists()


def test_training_writes_a_model_and_prints_a_table(recorded: Path, tmp_path: Path) -> None:
    base, own = save_system(tmp_path / "base"), tmp_path / "mine"
    changes = ("steps=2", "batch_size=2", "n_crops=1")
    code, out, error = run("train", recorded, *changes, "-o", own, "--model", base, "--held-out", 1)
    assert code == 0, error
    assert "trained on 2 videos" in out
    assert "1 held-out prompts" in out
    assert Lip2Speech.from_pretrained(own, "cpu").vocoder_names


def test_training_does_not_overwrite_a_model_unasked(recorded: Path, tmp_path: Path) -> None:
    own = save_system(tmp_path / "mine")
    code, _, error = run("train", recorded, "-o", own, "--model", own)
    assert code == 2
    assert "pass --overwrite" in error


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("stepz=2", "stepz"),
        ("lora_target_modules=[nonsense]", "no linear layer"),
        ("unit_tokenizer=nowhere", "nowhere"),
    ],
)
def test_an_invalid_config_is_one_line_and_writes_nothing(
    recorded: Path, tmp_path: Path, change: str, message: str
) -> None:
    base, own = save_system(tmp_path / "base"), tmp_path / "mine"
    code, _, error = run("train", recorded, change, "-o", own, "--model", base, "--held-out", 1)
    assert code != 0
    assert message in error
    assert error.count("\n") == 1
    assert not own.exists()


def test_the_table_shows_metrics_before_and_after() -> None:
    lines = table(AdaptationMetrics(0.25, 0.5), AdaptationMetrics(None, 0.125), 20).splitlines()
    assert [line.split() for line in lines[1:]] == [["before", "25.0%", "50.0%"], ["after", "-", "12.5%"]]


@pytest.mark.parametrize(
    ("n_recorded", "expected"),
    [
        (2, "2 of 3 prompts are recorded in a b; next: lip2speech adapt record 'a b'"),
        (3, "3 of 3 prompts are recorded in a b; next: lip2speech adapt train 'a b' -o MODEL"),
    ],
)
def test_the_progress_line_names_the_next_command(n_recorded: int, expected: str) -> None:
    assert progress_line(Path("a b"), n_recorded, 3) == expected
