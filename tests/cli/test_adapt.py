"""`lip2speech adapt`: prompts to mouth, then a model of one's own (lip2speech/cli/adapt.py)."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lip2speech.audio.io import write_wav
from lip2speech.cli import app
from lip2speech.cli.adapt import table
from lip2speech.pipeline import Lip2Speech
from lip2speech.train.adapt.trainer import AdaptationMetrics
from tests.factories import buzz, save_system

ROI = np.random.default_rng(0).integers(0, 256, (16, 96, 96), dtype=np.uint8)


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["adapt", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three prompts with videos whose crops are given, and with sounds, so that nothing is synthesised."""
    own = tmp_path / "own.txt"
    own.write_text("good morning\n\nhow are you\nthank you\n")
    assert run("prompts", tmp_path / "me", "--from", own)[0] == 0
    for i in (1, 2, 3):
        (tmp_path / "me" / f"00{i}.mp4").touch()
        write_wav(tmp_path / "me" / f"00{i}.wav", buzz(14, 100.0 + 10 * i))
    report = type("Report", (), {"face_detection_rate": 1.0})
    monkeypatch.setattr("lip2speech.video.load_roi", lambda video: (ROI, report))
    return tmp_path / "me"


def test_prompts_are_written_and_shown(tmp_path: Path) -> None:
    code, said, _ = run("prompts", tmp_path / "me", "--count", 3)
    assert code == 0 and len(said.splitlines()) == 3
    first = (tmp_path / "me" / "001.txt").read_text().strip()
    assert said.startswith(f"001  {first}\n") and len(first.split()) == 6
    code, _, error = run("prompts", tmp_path / "me")
    assert code == 2 and "is not empty" in error and error.count("\n") == 1


def test_a_list_without_a_sentence_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("\n")
    code, _, error = run("prompts", tmp_path / "me", "--from", tmp_path / "own.txt")
    assert code == 2 and "holds no sentence" in error and not (tmp_path / "me").exists()


def test_videos_of_prompts_become_a_model_and_a_table(recorded: Path, tmp_path: Path) -> None:
    base, own = save_system(tmp_path / "base"), tmp_path / "mine"
    changes = ("steps=2", "batch_size=2", "n_crops=1")
    code, said, error = run("fit", recorded, *changes, "-o", own, "--model", base, "--held-out", 1)
    assert code == 0, error
    assert "learned from 2 videos" in said and "1 held-out prompts" in said
    assert Lip2Speech.from_pretrained(own, "cpu").vocoder_names
    code, _, error = run("fit", recorded, "-o", own, "--model", base)
    assert code == 2 and "pass --overwrite" in error


@pytest.mark.parametrize(
    ("change", "message"),
    [("stepz=2", "stepz"), ("lora_target_modules=[nonsense]", "no linear layer"), ("unit_tokenizer=nowhere", "nowhere")],
)
def test_a_wrong_recipe_is_one_line_and_writes_nothing(
    recorded: Path, tmp_path: Path, change: str, message: str
) -> None:
    base, own = save_system(tmp_path / "base"), tmp_path / "mine"
    code, _, error = run("fit", recorded, change, "-o", own, "--model", base, "--held-out", 1)
    assert code != 0 and message in error and error.count("\n") == 1 and not own.exists()


def test_the_table_shows_what_was_measured() -> None:
    lines = table(AdaptationMetrics(0.25, 0.5), AdaptationMetrics(None, 0.125), 20).splitlines()
    assert [line.split() for line in lines[1:]] == [["before", "25.0%", "50.0%"], ["after", "-", "12.5%"]]
