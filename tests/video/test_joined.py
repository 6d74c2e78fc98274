"""Files joined end to end are read on, or refused in one line; the second is never lost silently."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from lip2speech.audio.io import read_wav
from lip2speech.audio.mux import mux
from lip2speech.video import read_frames
from lip2speech.video.diagnostics import format_diagnostics, inspect_video
from lip2speech.video.errors import MediaError
from lip2speech.video.reader import media_duration
from tests.audio.recordings import bursts, onset_s, write_talk
from tests.video.clips import counter_frame, counter_video, read_counter, sine, write_video

READ_ON: dict[str, dict[str, Any]] = {
    ".ts": {},
    ".mpg": {"codec": "mpeg2video", "time_base": Fraction(1, 25)},
    ".mkv": {},
    ".webm": {"codec": "libvpx", "time_base": Fraction(1, 1000)},
}
REFUSED: dict[str, dict[str, Any]] = {
    ".mp4": {},
    ".mov": {"container_options": {"movflags": "frag_keyframe+empty_moov+default_base_moof"}},
    ".avi": {"codec": "mpeg4", "time_base": Fraction(1, 25)},
    ".flv": {},
    ".wmv": {"codec": "wmv2", "time_base": Fraction(1, 1000)},
}


def joined(path: Path, n: int = 25, **settings: Any) -> Path:
    """Two files of n numbered frames each, one behind the other; both begin at the same time."""
    first = counter_video(path.with_stem("first"), n, **settings)
    second = write_video(path.with_stem("second"), map(counter_frame, range(n, 2 * n)), **settings)
    path.write_bytes(first.read_bytes() + second.read_bytes())
    return path


@pytest.mark.parametrize("suffix", READ_ON)
def test_joined_files_are_read_to_the_end(suffix: str, tmp_path: Path) -> None:
    path = joined(tmp_path / f"a{suffix}", **READ_ON[suffix])
    reader = read_frames(path)
    assert [read_counter(frame) for frame in reader] == list(range(50))
    assert reader.report.duration == pytest.approx(2.0, abs=0.03)
    assert media_duration(path) == pytest.approx(2.0, abs=0.1)


def test_a_restart_of_the_timestamps_is_counted_and_reported(tmp_path: Path) -> None:
    path = joined(tmp_path / "a.ts")
    result = inspect_video(path)
    assert result["video"]["restarts"] == 1
    assert "the timestamps start again 1 time" in format_diagnostics(result)


@pytest.mark.parametrize("suffix", REFUSED)
def test_joined_files_that_cannot_be_read_on_are_refused(suffix: str, tmp_path: Path) -> None:
    path = joined(tmp_path / f"a{suffix}", **REFUSED[suffix])
    with pytest.raises(MediaError, match=r"these are files joined end to end, .*; give them one by one"):
        read_frames(path)
    first = path.with_stem("first")
    assert [read_counter(frame) for frame in read_frames(first)] == list(range(25))


def test_timestamps_that_stand_still_are_refused(tmp_path: Path) -> None:
    settings = {"codec": "mpeg2video", "time_base": Fraction(1, 25)}
    path = joined(tmp_path / "a.mxf", 50, **settings)
    with pytest.raises(MediaError, match=r"a.mxf: the timestamps stand still at 1.96 s; cut the file there"):
        list(read_frames(path))


def test_joined_wav_files_are_refused(tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "a.wav", sine(0.1), 16_000)
    (tmp_path / "b.wav").write_bytes((tmp_path / "a.wav").read_bytes() * 2)
    with pytest.raises(MediaError, match=r"b.wav: these are files joined end to end"):
        read_wav(tmp_path / "b.wav")


@pytest.mark.parametrize("suffix", [".ts", ".mkv"])
def test_audio_of_joined_files_goes_on_with_the_video(suffix: str, tmp_path: Path) -> None:
    path = write_talk(tmp_path / f"a{suffix}", bursts(1.0))
    path.write_bytes(path.read_bytes() * 2)
    wav = read_wav(path)
    assert onset_s(wav) == pytest.approx(0.5, abs=0.003)
    assert onset_s(wav[16_000:]) == pytest.approx(0.5, abs=0.05)


def test_muxing_onto_joined_files_keeps_all_frames(tmp_path: Path) -> None:
    mux(joined(tmp_path / "a.ts"), bursts(2.0, at=(1.5,)), tmp_path / "b.mp4")
    assert [read_counter(frame) for frame in read_frames(tmp_path / "b.mp4")] == list(range(50))
    assert onset_s(read_wav(tmp_path / "b.mp4")) == pytest.approx(1.5, abs=0.003)
