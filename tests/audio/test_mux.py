"""Muxing audio onto videos: synchronization, copying, re-encoding, refusals."""

from fractions import Fraction
from pathlib import Path
from typing import Any

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


def test_60_frames_a_second_with_b_frames_are_copied_from_matroska(tmp_path: Path) -> None:
    options = {"bf": "3", "b-pyramid": "normal"}
    video = counter_video(tmp_path / "a.mkv", 60, fps=60, options=options, time_base=Fraction(1, 1000))
    assert first_packet(video).dts is None, "Matroska stores no decoding timestamps"
    mux(video, bursts(1.0), tmp_path / "b.mp4")
    assert packet_sizes(tmp_path / "b.mp4") == packet_sizes(video)
    reader = read_frames(tmp_path / "b.mp4")
    assert len(list(reader)) == 25
    assert reader.report.source_fps == pytest.approx(60, abs=0.1)
    assert (reader.report.start, reader.report.skipped) == (0.0, 0)
    assert onset_s(read_wav(tmp_path / "b.mp4")) == pytest.approx(0.5, abs=0.003)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_copied_hevc_has_the_tag_that_apples_players_accept(suffix: str, tmp_path: Path) -> None:
    options = {"x265-params": "log-level=none"}
    video = counter_video(tmp_path / f"a{suffix}", codec="libx265", options=options, prepare=tag("hvc1"))
    mux(video, bursts(1.0), tmp_path / "b.mp4")
    assert codec_tag(tmp_path / "b.mp4") == "hvc1"
    assert packet_sizes(tmp_path / "b.mp4") == packet_sizes(video) or suffix == ".ts"  # delimiters go


@pytest.mark.parametrize("between", [".mov", ".mkv"])
def test_copied_prores_keeps_its_variant(between: str, tmp_path: Path) -> None:
    settings = {"codec": "prores_ks", "pix_fmt": "yuva444p10le", "options": {"profile": "4444"}}
    video = counter_video(tmp_path / f"a{between}", 5, **settings, prepare=tag("ap4h"))
    mux(video, bursts(0.2, at=()), tmp_path / "b.mov")
    assert codec_tag(tmp_path / "b.mov") == "ap4h"
    assert packet_sizes(tmp_path / "b.mov") == packet_sizes(video)


def test_a_tag_that_the_output_does_not_know_is_left_out_and_the_packets_copied(tmp_path: Path) -> None:
    video = counter_video(tmp_path / "a.mov", codec="mpeg4", pix_fmt="yuv420p", time_base=Fraction(1, 25))
    data = video.read_bytes()
    assert data.count(b"mp4v") == 1
    video.write_bytes(data.replace(b"mp4v", b"XVID"))
    mux(video, bursts(1.0), tmp_path / "b.mp4")
    assert codec_tag(tmp_path / "b.mp4") == "mp4v"
    assert packet_sizes(tmp_path / "b.mp4") == packet_sizes(video)


def tag(name: str) -> Any:
    """For `write_video`: sets the codec tag of a file that has one."""

    def prepare(container: Any, stream: Any) -> None:
        if container.format.name in ("mp4", "mov"):
            stream.codec_context.codec_tag = name

    return prepare


def codec_tag(path: Path) -> str:
    """The codec tag of the video."""
    with av.open(str(path)) as container:
        return str(container.streams.video[0].codec_context.codec_tag)


def first_packet(path: Path) -> Any:
    """The first packet of the video."""
    with av.open(str(path)) as container:
        return next(container.demux(container.streams.video[0]))
