"""The command on a real file with a real, untrained model: from mp4 to wav, to mp4, and every way to fail."""

import json
from pathlib import Path

import av
import pytest
import soundfile
from typer.testing import CliRunner, Result

from lip2speech.cli import app


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_video_becomes_a_wav_of_its_length(clip: Path, tiny_system: Path, tmp_path: Path) -> None:
    out = tmp_path / "sample.wav"
    result = run("convert", clip, "-o", out, "--model", tiny_system, "--json")
    assert result.exit_code == 0, result.output
    row = json.loads(result.stdout)
    samples, rate = soundfile.read(out)
    assert (rate, len(samples)) == (16_000, 640 * row["frames"])
    assert (row["model"], row["vocoder"], row["face_detection_rate"], row["no_face_segments"]) == (
        "tiny",
        "mel",
        1.0,
        [],
    )
    assert row["duration"] == pytest.approx(row["frames"] / 25, abs=1e-3)
    assert row["rtf"] > 0


def test_a_muxed_video_keeps_its_pictures_and_speaks(clip: Path, tiny_system: Path, tmp_path: Path) -> None:
    result = run("convert", clip, "-o", tmp_path, "--mux", "--model", tiny_system, "--vocoder", "griffin-lim")
    assert result.exit_code == 0, result.output
    with av.open(str(clip)) as before, av.open(str(tmp_path / "sample.speech.mp4")) as after:
        assert [s.type for s in after.streams] == ["video", "audio"]
        pictures = [[bytes(p) for p in c.demux(video=0) if p.size] for c in (before, after)]
    assert pictures[0] == pictures[1]
    assert [path.name for path in tmp_path.iterdir()] == ["sample.speech.mp4"]


def test_bad_inputs_get_one_line_each(clip: Path, tiny_system: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "cut.mp4").write_bytes(clip.read_bytes()[:2000])
    result = run("convert", tmp_path, tmp_path / "missing.mp4", "--model", tiny_system)
    assert result.exit_code == 3
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == [
        "cut.mp4",
        "empty.mp4",
        "text.mp4",
        "missing.mp4",
    ]
    assert not list(tmp_path.glob("*.wav"))


def test_a_damaged_model_is_code_5(clip: Path, tiny_system: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in tiny_system.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "model.safetensors").write_bytes(b"short")
    for name, message in (
        (folder, "model.safetensors: differs"),
        (tmp_path / "none", "no such checkpoint folder"),
    ):
        result = run("convert", clip, "-o", tmp_path / "o.wav", "--model", name)
        assert result.exit_code == 5
        assert message in result.stderr
        assert len(result.stderr.splitlines()) == 1
    result = run("model", "verify", folder)
    assert result.exit_code == 5


def test_a_models_card_and_sums_can_be_looked_at(tiny_system: Path) -> None:
    assert run("model", "info", tiny_system).stdout == "# Tiny\n"
    assert run("model", "verify", tiny_system).stdout == f"{tiny_system}: ok\n"
    assert run("model", "list").exit_code == 0
