"""Files -> frames at exactly 25 fps; every source frame shows its own number."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from lip2speech.video.errors import MediaError
from lip2speech.video.reader import FrameReader, read_frames
from tests.video.clips import HEIGHT, WIDTH, counter_frame, counter_video, read_counter, sine, write_video

EVERY = list(range(25))
TICK = Fraction(1, 25)


def numbers(path: Path) -> list[int]:
    return [read_counter(frame) for frame in read_frames(path)]


CONTAINERS: dict[str, dict[str, Any]] = {
    "h264.mp4": {},
    "h264.mov": {},
    "h264.mkv": {},
    "h264.ts": {},
    "m2v.mxf": {"codec": "mpeg2video", "time_base": TICK, "options": {"g": "1", "bf": "0"}},
    "m1v.mpg": {"codec": "mpeg1video", "time_base": TICK},
    "mpeg4.avi": {"codec": "mpeg4", "time_base": TICK},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "time_base": TICK},
    "flv1.flv": {"codec": "flv", "time_base": Fraction(1, 1000)},
    "wmv2.wmv": {"codec": "wmv2", "time_base": Fraction(1, 1000)},
    "vp8.webm": {"codec": "libvpx", "time_base": Fraction(1, 1000)},
    "raw.y4m": {"codec": "rawvideo", "time_base": TICK},
    "anim.gif": {"codec": "gif", "pix_fmt": "rgb8", "time_base": Fraction(1, 100)},
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_accepted_container_is_read_completely(name: str, tmp_path: Path) -> None:
    path = counter_video(tmp_path / name, **CONTAINERS[name])
    reader = read_frames(path)
    assert [read_counter(frame) for frame in reader] == EVERY
    assert (reader.report.frames, reader.report.source_frames, reader.report.corrupt) == (25, 25, 0)
    assert reader.report.duration == pytest.approx(1.0, abs=0.002)
    assert reader.report.source_fps == pytest.approx(25, abs=0.01)


PIXELS: dict[str, dict[str, Any]] = {
    "10 bits": {"pix_fmt": "yuv420p10le"},
    "4:4:4": {"pix_fmt": "yuv444p"},
    "4:2:2 10 bits": {"codec": "prores_ks", "pix_fmt": "yuv422p10le"},
    "full range": {"pix_fmt": "yuvj420p"},
    "gray": {"codec": "ffv1", "pix_fmt": "gray"},
    "gray 16": {"codec": "ffv1", "pix_fmt": "gray16le"},
    "alpha": {"codec": "ffv1", "pix_fmt": "yuva420p"},
    "rgb": {"codec": "qtrle", "pix_fmt": "rgb24"},
    "rgb with alpha": {"codec": "qtrle", "pix_fmt": "argb"},
}


@pytest.mark.parametrize("name", PIXELS)
def test_every_pixel_format_keeps_its_grays(name: str, tmp_path: Path) -> None:
    path = (
        counter_video(tmp_path / "a.mov", 4, **PIXELS[name])
        if "gray" not in name and name != "alpha"
        else (counter_video(tmp_path / "a.mkv", 4, **PIXELS[name]))
    )
    frames = list(read_frames(path))
    assert [read_counter(frame) for frame in frames] == [0, 1, 2, 3]
    for k, frame in enumerate(frames):
        assert (frame.dtype, frame.shape) == (np.uint8, (HEIGHT, WIDTH, 3))
        assert np.abs(frame.astype(int) - counter_frame(k)).mean() < 3


def test_transparent_pixels_become_black(tmp_path: Path) -> None:
    pixels = np.dstack([counter_frame(4095), np.full((HEIGHT, WIDTH), 255, np.uint8)])
    pixels[:, : WIDTH // 2, 3] = 0
    path = write_video(tmp_path / "a.mov", [pixels], codec="qtrle", pix_fmt="argb")
    (frame,) = read_frames(path)
    assert frame[:, : WIDTH // 2].max() == 0
    assert frame[:, WIDTH // 2 :].min() == 200


@pytest.mark.parametrize("fps", [12, 15, 24, 30, 50, 60, 29.97])
def test_any_frame_rate_is_resampled_to_25_by_time(fps: float, tmp_path: Path) -> None:
    path = counter_video(tmp_path / "a.mp4", round(2 * fps), fps=fps)
    found = numbers(path)
    assert abs(len(found) - 50) <= 1
    for k, number in enumerate(found):
        last = number == round(2 * fps) - 1  # lasts for its full duration
        reach = 1 / fps if last else max(0.5 / fps, 1 / fps - 1 / 25)  # never more than 40 ms early
        assert abs(number / fps - k / 25) <= reach + 1e-3


def test_variable_frame_rates_are_resampled_by_time(tmp_path: Path) -> None:
    times = [0, 0.033, 0.1, 0.2, 0.25, 0.5, 0.51, 0.9, 0.95, 1.0]
    path = counter_video(tmp_path / "a.webm", 10, times=times, codec="libvpx", time_base=Fraction(1, 1000))
    reader = read_frames(path)
    found = [read_counter(frame) for frame in reader]
    assert found == [0, 1, 2, 2, 2, 3, 4, 4, 4, 4, 4, 4, 5, *[6] * 9, 7, 7, 8, 9]
    assert reader.report.frozen_segments == [(0.25, 0.5), (0.51, 0.9)]


def test_the_length_of_a_live_webm_comes_from_its_last_frame(tmp_path: Path) -> None:
    path = counter_video(
        tmp_path / "a.webm",
        30,
        fps=20,
        codec="libvpx",
        time_base=Fraction(1, 1000),
        container_options={"live": "1"},
    )
    with av.open(str(path)) as container:
        assert container.duration is None
    assert len(numbers(path)) in (37, 38)


@pytest.mark.parametrize("start", [0.5, 9001.4, 95_000.0])
def test_the_first_frame_is_output_frame_0_whatever_its_timestamp(start: float, tmp_path: Path) -> None:
    path = counter_video(tmp_path / "a.ts", times=[start + k / 25 for k in EVERY])
    reader = read_frames(path)
    assert [read_counter(frame) for frame in reader] == EVERY
    assert reader.report.start == pytest.approx(start % (2**33 / 90_000), abs=0.1)


def test_a_timestamp_jump_of_an_hour_is_refused_in_one_line(tmp_path: Path) -> None:
    times = [k / 25 + (3600 if k > 4 else 0) for k in range(10)]
    path = counter_video(tmp_path / "a.mkv", 10, times=times)
    reader = read_frames(path)
    with pytest.raises(
        MediaError, match=r"a.mkv: the timestamps jump from 0.16 s to 3600.20 s; cut the file there"
    ):
        list(reader)
    assert reader.report.frames <= 5


def test_a_frozen_segment_of_nine_seconds_is_kept_and_reported(tmp_path: Path) -> None:
    path = counter_video(tmp_path / "a.mkv", 2, times=[0, 9])
    reader = read_frames(path)
    assert len(list(reader)) in (226, 227)
    assert reader.report.frozen_segments == [(0.0, 9.0)]


def test_fragmented_mp4_is_read(tmp_path: Path) -> None:
    path = counter_video(tmp_path / "a.mp4", container_options={"movflags": "frag_keyframe+empty_moov"})
    assert numbers(path) == EVERY


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_rotation_is_applied_as_a_player_does(angle: int, tmp_path: Path) -> None:
    upright = counter_frame(0b000000000001)  # only the top left tile is bright
    path = write_video(
        tmp_path / "a.mp4", [upright] * 2, prepare=lambda _, stream: stream.set_display_rotation(angle)
    )
    reader = read_frames(path)
    frame = next(reader)
    bright = np.argwhere(frame.mean(2) > 120).mean(0) / frame.shape[:2]
    assert (reader.report.rotation, frame.shape[:2]) == (
        angle,
        (WIDTH, HEIGHT) if angle != 180 else (HEIGHT, WIDTH),
    )
    # Counter-clockwise: top left goes to bottom left, bottom right, top right.
    corner = {90: (1, 0), 180: (1, 1), 270: (0, 1)}[angle]
    assert np.array_equal(bright > 0.5, corner)


@pytest.mark.parametrize(("aspect", "shape"), [(Fraction(2), (96, 256)), (Fraction(1, 2), (192, 128))])
def test_non_square_pixels_are_upscaled_to_square(aspect: Fraction, shape: tuple, tmp_path: Path) -> None:
    def set_aspect(_: Any, stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = aspect

    reader = read_frames(counter_video(tmp_path / "a.mp4", 3, prepare=set_aspect))
    frames = list(reader)
    assert frames[0].shape[:2] == shape == (reader.report.height, reader.report.width)
    assert [read_counter(frame) for frame in frames] == [0, 1, 2]


def test_interlaced_frames_are_deinterlaced(tmp_path: Path) -> None:
    comb = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    comb[1::2, 40:80] = 220  # only in the second field
    path = write_video(tmp_path / "a.mp4", [comb] * 3, options={"flags": "+ildct+ilme", "qp": "1"})
    reader = read_frames(path)
    frame = next(reader).astype(int)
    assert reader.report.interlaced
    assert np.abs(np.diff(frame[:, 60, 0])).max() < 30


def test_odd_frame_sizes_are_supported(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "a.mkv", [counter_frame(k, 127, 95) for k in range(3)], codec="ffv1", pix_fmt="yuv444p"
    )
    frames = list(read_frames(path))
    assert frames[0].shape == (95, 127, 3)
    assert [read_counter(frame) for frame in frames] == [0, 1, 2]


def test_a_single_frame_is_a_video(tmp_path: Path) -> None:
    assert numbers(counter_video(tmp_path / "a.mp4", 1)) == [0]


def test_cover_art_is_not_the_video(tmp_path: Path) -> None:
    path = write_cover(tmp_path / "a.mp4", with_video=True)
    assert numbers(path) == [0, 1, 2, 3, 4]


def test_only_cover_art_is_refused(tmp_path: Path) -> None:
    path = write_cover(tmp_path / "a.mp4", with_video=False)
    with pytest.raises(MediaError, match="a.mp4: only cover art in this file"):
        read_frames(path)


def test_an_audio_file_is_refused(tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "a.wav", sine(0.1), 16_000)
    with pytest.raises(MediaError, match="a.wav: no video stream in this file"):
        read_frames(tmp_path / "a.wav")


def test_damaged_packets_are_skipped_and_counted(tmp_path: Path) -> None:
    path = counter_video(tmp_path / "a.mkv", 50, codec="ffv1", options={"g": "1", "slicecrc": "1"})
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + len(data) // 10] = bytes(len(data) // 10)
    path.write_bytes(data)
    reader = read_frames(path)
    found = [read_counter(frame) for frame in reader]
    assert found[:10] == list(range(10))
    assert found[-5:] == list(range(45, 50))
    assert len(found) == 50
    assert reader.report.corrupt > 0


def test_a_truncated_file_is_read_up_to_its_end(tmp_path: Path) -> None:
    path = counter_video(tmp_path / "a.mkv", 50, codec="ffv1")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = numbers(path)
    assert 15 < len(found) < 35
    assert found == list(range(len(found)))


def test_a_truncated_mp4_is_refused_in_one_line(tmp_path: Path) -> None:
    path = counter_video(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(MediaError, match="a.mp4: damaged or incomplete .*; export it again"):
        read_frames(path)


def test_a_file_without_a_decodable_frame_is_refused(tmp_path: Path) -> None:
    path = counter_video(tmp_path / "a.mkv", 5, options={"bf": "0"})
    data = bytearray(path.read_bytes())
    start = data.index(bytes.fromhex("1f43b675")) + 60  # after the header of the first cluster
    data[start:] = b"\xff" * (len(data) - start)
    path.write_bytes(data)
    with pytest.raises(MediaError, match="no frame could be decoded"):
        list(read_frames(path))


def test_an_oversized_frame_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = counter_video(tmp_path / "a.mp4", 1)
    monkeypatch.setattr("lip2speech.video.reader.MAX_PIXELS", 1000)
    with pytest.raises(MediaError, match="frames of 128x96 pixels, expected 7680x4320 at most"):
        read_frames(path)


def test_frames_whose_timestamp_does_not_increase_are_skipped_and_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = counter_video(tmp_path / "a.mkv", 6)
    times = iter([0, 40_000, 40_000, 20_000, 80_000, 120_000])
    real = FrameReader._timed_frames
    monkeypatch.setattr(
        FrameReader, "_timed_frames", lambda self: ((frame, next(times)) for frame, _ in real(self))
    )
    reader = read_frames(path)
    assert [read_counter(frame) for frame in reader] == [0, 1, 4, 5]
    assert reader.report.skipped == 2


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    import tracemalloc

    path = counter_video(tmp_path / "a.mp4", 500)
    reader = read_frames(path)
    next(reader)
    tracemalloc.start()
    for _ in reader:
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30 * HEIGHT * WIDTH * 3


def test_the_file_is_closed_after_the_last_frame_and_by_close(tmp_path: Path) -> None:
    import os

    path = counter_video(tmp_path / "a.mp4", 5)
    before = len(os.listdir("/proc/self/fd"))
    list(read_frames(path))
    with read_frames(path) as reader:
        next(reader)
    assert len(os.listdir("/proc/self/fd")) == before


def write_cover(path: Path, *, with_video: bool) -> Path:
    """A file with cover art, with or without five numbered frames."""
    from av.stream import Disposition

    with av.open(str(path), "w") as container:
        cover: Any = container.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        video: Any = container.add_stream("libx264", rate=25) if with_video else None
        if video is not None:
            video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        image = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 99, np.uint8), format="rgb24")
        image.pts = 0
        container.mux(cover.encode(image))
        container.mux(cover.encode(None))
        for k in range(5 if with_video else 0):
            frame = av.VideoFrame.from_ndarray(counter_frame(k), format="rgb24")
            frame.pts = k
            container.mux(video.encode(frame))
        if video is not None:
            container.mux(video.encode(None))
    return path


@pytest.mark.parametrize("seed", range(6))
def test_random_damage_gives_frames_or_one_line(
    seed: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(seed)
    name = list(CONTAINERS)[2 * seed]
    whole = counter_video(tmp_path / name, **CONTAINERS[name]).read_bytes()
    for _ in range(15):
        data = np.frombuffer(whole, np.uint8).copy()
        for at in rng.integers(16, len(data) - 8, rng.integers(1, 30)):
            data[at : at + rng.integers(1, 8)] = rng.integers(0, 256)
        (tmp_path / name).write_bytes(data.tobytes()[: rng.integers(len(data) // 2, len(data))])
        message = read_all(tmp_path / name)
        assert "\n" not in message
    assert "Traceback" not in capfd.readouterr().err


def read_all(path: Path) -> str:
    """Read every frame; the message of a MediaError, else nothing."""
    try:
        with read_frames(path) as frames:
            for frame in frames:
                assert frame.dtype == np.uint8
    except MediaError as error:
        return str(error)
    return ""
