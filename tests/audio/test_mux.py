"""Muxing audio onto videos: synchronization, copying, re-encoding, refusals."""

from fractions import Fraction
from pathlib import Path

import av
import pytest

from lip2speech.audio.io import read_wav
from lip2speech.audio.mux import mux
from lip2speech.constants import MUX_SUFFIXES
from lip2speech.video import read_frames
from lip2speech.video.errors import MediaError
from tests.audio.recordings import bursts, onset_s, write_talk
from tests.video.clips import counter_video, read_counter, sine


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi"])
def test_audio_is_muxed_in_sync_and_video_packets_are_copied(suffix: str, tmp_path: Path) -> None:
    video = counter_video(tmp_path / "a.mp4")
    mux(video, bursts(1.0), tmp_path / f"b{suffix}")
    assert onset_s(read_wav(tmp_path / f"b{suffix}")) == pytest.approx(0.5, abs=0.003)
    reader = read_frames(tmp_path / f"b{suffix}")
    assert [read_counter(frame) for frame in reader] == list(range(25))
    assert packet_sizes(tmp_path / f"b{suffix}") == packet_sizes(video) or suffix == ".avi"


@pytest.mark.parametrize("suffix", MUX_SUFFIXES)
def test_every_supported_container_gets_all_frames_and_the_audio(suffix: str, tmp_path: Path) -> None:
    mux(counter_video(tmp_path / "a.mp4"), bursts(1.0), tmp_path / f"b{suffix}")
    # A transport stream does not signal the 64 ms of AAC priming; WMA and Vorbis have some as well.
    assert onset_s(read_wav(tmp_path / f"b{suffix}")) == pytest.approx(0.5, abs=0.07)
    assert [read_counter(frame) for frame in read_frames(tmp_path / f"b{suffix}")] == list(range(25))


def test_existing_audio_is_replaced_and_the_start_moved_to_0(tmp_path: Path) -> None:
    video = write_talk(tmp_path / "a.ts", bursts(1.0, at=(0.1,)), video_at=7.0, audio_at=7.0)
    mux(video, bursts(1.0), tmp_path / "b.mp4")
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
    reader = read_frames(tmp_path / "b.mp4")
    assert [read_counter(frame) for frame in reader] == list(range(25))
    assert reader.report.start == pytest.approx(0, abs=0.001)
    assert onset_s(read_wav(tmp_path / "b.mp4")) == pytest.approx(0.5, abs=0.003)


def test_a_codec_the_container_does_not_support_is_re_encoded(tmp_path: Path) -> None:
    video = counter_video(tmp_path / "a.webm", codec="libvpx", time_base=Fraction(1, 1000))
    mux(video, bursts(1.0), tmp_path / "b.mp4")
    reader = read_frames(tmp_path / "b.mp4")
    assert [read_counter(frame) for frame in reader] == list(range(25))
    assert reader.report.codec == "h264"


def test_rotation_survives_copying(tmp_path: Path) -> None:
    video = counter_video(tmp_path / "a.mp4", 3, prepare=lambda _, stream: stream.set_display_rotation(90))
    mux(video, bursts(0.2, at=()), tmp_path / "b.mp4")
    reader = read_frames(tmp_path / "b.mp4")
    assert next(reader).shape == (128, 96, 3)


def test_overwriting_the_input_and_unknown_suffixes_are_refused(tmp_path: Path) -> None:
    video = counter_video(tmp_path / "a.mp4", 3)
    before = video.read_bytes()
    with pytest.raises(ValueError, match=r"a.mp4: this is the input video"):
        mux(video, sine(0.1), video)
    with pytest.raises(ValueError, match=r"b.txt: not a supported container; use one of .mp4"):
        mux(video, sine(0.1), tmp_path / "b.txt")
    with pytest.raises(MediaError):
        mux(tmp_path / "nothing.mp4", sine(0.1), tmp_path / "c.mp4")
    assert video.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def packet_sizes(path: Path) -> list[int]:
    """Sizes of the video's packets."""
    with av.open(str(path)) as container:
        return [packet.size for packet in container.demux(container.streams.video[0]) if packet.size]
