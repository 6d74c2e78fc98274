"""`inspect`: statistics, contact sheet and exit codes."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from lip2speech.cli import app


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["inspect", *(str(argument) for argument in arguments)])


@pytest.fixture(scope="module")
def gray(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten gray frames."""
    path = tmp_path_factory.mktemp("gray") / "gray.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 128
        stream.pix_fmt = "yuv420p"
        for _ in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((128, 128, 3), 127, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_a_talking_face_gives_statistics_and_a_sheet(clip: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    result = run(clip, "--sheet", sheet)
    assert result.exit_code == 0, result.output
    assert "100.0 % of frames" in result.stdout
    assert sheet.read_bytes().startswith(b"\x89PNG")
    assert run(clip, "--sheet", sheet).exit_code == 2


def test_no_face_exits_with_code_4_and_prints_the_statistics(gray: Path) -> None:
    result = run(gray, "--json")
    assert result.exit_code == 4
    result_json = json.loads(result.stdout)
    assert (result_json["frames"], result_json["face_detection_rate"]) == (10, 0.0)
    assert "no face in 10 of 10 frames" in result_json["error"]


def test_unreadable_inputs_and_unwritable_sheets_give_one_line(clip: Path, tmp_path: Path) -> None:
    for arguments, code in (
        ([tmp_path / "missing.mp4"], 3),
        ([clip, "--sheet", tmp_path / "sheet.jpg"], 2),
        ([clip, "--sheet", tmp_path / "none" / "sheet.png"], 2),
        ([clip, "--sheet", clip], 2),
    ):
        result = run(*arguments)
        assert result.exit_code == code
        assert len(result.stderr.splitlines()) == 1
