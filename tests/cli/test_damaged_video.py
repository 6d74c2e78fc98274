"""What `convert` and `stream` report of a video that is not whole."""

import json
from pathlib import Path

import av
import pytest
from typer.testing import CliRunner

from lip2speech.cli import app

SAMPLE = Path("lip2speech/pretrained/sample.mp4").resolve()


@pytest.fixture(scope="module")
def truncated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample with its index first, without its last quarter."""
    path = tmp_path_factory.mktemp("video") / "truncated.mp4"
    with av.open(str(SAMPLE)) as source, av.open(str(path), "w", options={"movflags": "faststart"}) as sink:
        stream = sink.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                sink.mux(packet)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    return path


@pytest.mark.parametrize("command", ["convert", "stream"])
def test_the_missing_frames_of_a_truncated_video_are_reported(
    command: str, truncated: Path, tmp_path: Path
) -> None:
    result = CliRunner().invoke(app, [command, str(truncated), "-o", str(tmp_path / "a.wav"), "--json"])
    assert result.exit_code == 0
    values = json.loads(result.stdout)
    assert values["frames_missing"] > 5
    assert values["duration"] + values["frames_missing"] / 25 == pytest.approx(2.8, abs=0.05)
    (warning,) = [line for line in result.stderr.splitlines() if "truncated.mp4" in line]
    assert f"{values['frames_missing']} frames missing" in warning
    assert "export or record the video again" in warning
