"""`lip2speech stream` on a small system (lip2speech/cli/stream.py)."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lip2speech.audio.io import read_wav
from lip2speech.cli import app
from lip2speech.confidence.calibration import Calibration
from lip2speech.config import to_dict
from lip2speech.pipeline import PipelineConfig
from tests.factories import save_system


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_system(tmp_path_factory.mktemp("stream") / "small")


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["stream", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_a_video_is_spoken_live_and_its_delay_told(model: Path, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "live.wav"
    code, said, _ = run(clip, "-o", out, "--model", model, "--json", "--hop", 5, "--ahead", 6, "--quiet")
    assert code == 0
    row = json.loads(said)
    assert row["latency"] == pytest.approx(0.44)
    assert row["status"]["blind"] == 0 and row["status"]["face"]
    assert len(read_wav(out)) == 640 * row["status"]["instants"] == round(16_000 * row["duration"])
    assert 0 < row["worst"] <= row["computed"]
    assert (row["confidence"], row["sure"], row["status"]["confidence"]) == (None, None, None)
    code, _, error = run(clip, "-o", out, "--model", model, "--quiet")
    assert code == 2 and "--overwrite" in error


def test_a_calibrated_model_says_how_sure_it_is(clip: Path, tmp_path: Path) -> None:
    own = to_dict(PipelineConfig(default_voice="ann", confidence=Calibration(bias=-2.0)))
    model = save_system(tmp_path / "sure", pipeline=own)
    out = tmp_path / "live.wav"
    options = ("--model", model, "--unsure", "silence", "--quiet")
    code, said, _ = run(clip, "-o", out, *options, "--json")
    assert code == 0
    row = json.loads(said)
    assert row["confidence"] == [0.119] * -(-row["status"]["instants"] // 25) and row["sure"] == 0.119
    assert not read_wav(out)[160:].any()


def test_what_it_cannot_do_is_usage(model: Path, clip: Path, tmp_path: Path) -> None:
    for arguments, word in (
        ((tmp_path, "-o", tmp_path / "a.wav"), "is a folder"),
        ((clip, "-o", tmp_path / "a.mp4"), "writes sound"),
        ((clip, "-o", tmp_path / "a.wav", "--hop", 0, "--model", model), "hop must be 1 or more"),
    ):
        code, _, error = run(*arguments)
        assert code in (2, 3) and word in error, error
    assert not list(tmp_path.iterdir())


def test_a_video_without_a_face_is_not_spoken(model: Path, tmp_path: Path) -> None:
    from tests.video.clips import counter_video

    blank = counter_video(tmp_path / "blank.mp4")
    code, _, error = run(blank, "-o", tmp_path / "a.wav", "--model", model, "--quiet")
    assert code == 4 and "no face in 25 of 25 frames" in error
    assert not (tmp_path / "a.wav").exists()
