"""`lip2speech stream` on a small model (lip2speech/cli/stream.py)."""

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


def test_a_video_is_synthesized_live_and_its_latency_reported(
    model: Path, clip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "live.wav"
    sizes = ("--hop-frames", 5, "--lookahead", 6)
    code, output, _ = run(clip, "-o", out, "--model", model, "--json", *sizes, "--quiet")
    assert code == 0
    row = json.loads(output)
    assert row["algorithmic_latency_s"] == pytest.approx(0.44)
    assert row["no_face_frames"] == 0
    assert row["face_detected"]
    assert len(read_wav(out)) == 640 * row["output_frames"] == round(16_000 * row["duration"])
    assert 0 < row["max_frame_compute_s"] <= row["compute_s"]
    assert (row["confidence"], row["mean_confidence"]) == (None, None)
    code, _, error = run(clip, "-o", out, "--model", model, "--quiet")
    assert code == 2
    assert "--overwrite" in error


def test_a_calibrated_model_reports_its_confidence(clip: Path, tmp_path: Path) -> None:
    own = to_dict(PipelineConfig(default_voice="ann", confidence=Calibration(bias=-2.0)))
    model = save_system(tmp_path / "calibrated", inference=own)
    out = tmp_path / "live.wav"
    code, output, _ = run(clip, "-o", out, "--model", model, "--low-confidence", "mute", "--quiet", "--json")
    assert code == 0
    row = json.loads(output)
    assert row["confidence"] == [0.119] * -(-row["output_frames"] // 25)
    assert row["mean_confidence"] == 0.119
    assert not read_wav(out)[160:].any()


def test_wrong_arguments_are_refused(model: Path, clip: Path, tmp_path: Path) -> None:
    for arguments, word in (
        ((tmp_path, "-o", tmp_path / "a.wav"), "is a folder"),
        ((clip, "-o", tmp_path / "a.mp4"), "writes audio"),
        ((clip, "-o", tmp_path / "a.wav", "--hop-frames", 0, "--model", model), "hop must be 1 or more"),
    ):
        code, _, error = run(*arguments)
        assert code in (2, 3)
        assert word in error
    assert not list(tmp_path.iterdir())


def test_a_video_without_a_face_is_refused(model: Path, tmp_path: Path) -> None:
    from tests.video.clips import counter_video

    blank = counter_video(tmp_path / "blank.mp4")
    code, _, error = run(blank, "-o", tmp_path / "a.wav", "--model", model, "--quiet")
    assert code == 4
    assert "no face in 25 of 25 frames" in error
    assert not (tmp_path / "a.wav").exists()
