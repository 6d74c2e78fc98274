"""Video file -> a stream of RGB frames at exactly 25 per second, by the file's own timestamps.

The headers' frame rate, frame count and duration are never used: browser recordings have none, or wrong
ones. Every packet is decoded; `ConstantFrameRateResampler` picks frames by time. Knows containers and codecs (PyAV);
not faces.
"""

import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lip2speech.constants import VIDEO_FPS
from lip2speech.video.errors import MediaError
from lip2speech.video.formats import ACCEPTED, HEAD_BYTES, detect_demuxer, open_regular_file
from lip2speech.video.frame_conversion import square_pixel_size, to_rgb
from lip2speech.video.frame_rate import FRAME_US, MICROSECONDS, ConstantFrameRateResampler

READ_BYTES = 1 << 18  # from Python in one go
MAX_PIXELS = 7680 * 4320  # one frame of 8K; more is a mistake or an attack on memory
MIN_FROZEN_US = (
    MICROSECONDS // 5
)  # a frame shown longer than this is reported: lips do not stand still for 0.2 s of speech
MAX_TIMESTAMP_JUMP_US = 10 * MICROSECONDS  # a longer jump in the timestamps is a damaged or glued file
MAX_FROZEN_SEGMENTS = 1000  # reported holds; a slide show of ten hours must not fill memory
MAX_CONSECUTIVE_ERRORS = 1000  # damaged packets after which the rest of the file is given up


@dataclass
class ReadReport:
    """What reading found; complete once the frames are used up.

    Attributes:
        width, height: of the frames that come out (upright, square pixels).
        source_fps: measured from timestamps, 0.0 for a single frame.
        start: time stamp of the first frame, s. Frame k of the output is at start + k / 25.
        duration: from the first frame to the end of the last, s.
        source_frames, frames: decoded, given out.
        corrupt: packets that could not be decoded, or frames the decoder had to patch.
        skipped: frames whose time is not after the frame before.
        frozen_segments: (start_s, end_s) where one frame had to stand for more than 0.2 s.
    """

    name: str
    container: str = ""
    codec: str = ""
    width: int = 0
    height: int = 0
    rotation: int = 0
    interlaced: bool = False
    source_fps: float = 0.0
    start: float = 0.0
    duration: float = 0.0
    source_frames: int = 0
    frames: int = 0
    corrupt: int = 0
    skipped: int = 0
    frozen_segments: list[tuple[float, float]] = field(default_factory=list)


@contextmanager
def open_media(path: str | os.PathLike) -> Iterator[Any]:
    """An open PyAV container on an ordinary file of an accepted format, or MediaError.

    The demuxer is named by us, reads from a file we opened, and may open nothing else.
    """
    import av

    name = Path(path).name
    with open_regular_file(path) as file:
        demuxer = detect_demuxer(file.read(HEAD_BYTES))
        if demuxer is None:
            raise MediaError(f"{name}: not a video format that is accepted; convert it to one of {ACCEPTED}.")
        file.seek(0)
        try:
            container = av.open(
                _ForFFmpeg(file),
                format=demuxer,
                io_open=_refuse_other_files,
                metadata_errors="ignore",
                buffer_size=READ_BYTES,
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            raise MediaError(f"{name}: damaged or incomplete ({_reason(error)}); export it again.") from None
        with container:
            yield container


def read_frames(path: str | os.PathLike) -> "FrameReader":
    """Frames of a video at exactly 25 per second: an iterator of (H, W, 3) uint8 RGB with a `.report`.

    Raises MediaError at once for a file that cannot be opened or holds no video; while reading for one
    that turns out to be broken in time.
    """
    return FrameReader(path)


def media_duration(path: str | os.PathLike) -> float:
    """Length of a video or a recording by its packets' time stamps; nothing is decoded, no header believed.

    Raises MediaError for a file that cannot be opened, or has neither pictures nor sound.
    """
    from av import FFmpegError

    with open_media(path) as container:
        streams = container.streams.video or container.streams.audio
        if not streams:
            raise MediaError(f"{Path(path).name}: neither pictures nor sound in this file.")
        base, first, end = streams[0].time_base, None, 0
        try:
            for packet in container.demux(streams[0]):
                if packet.pts is not None:
                    first = packet.pts if first is None else min(first, packet.pts)
                    end = max(end, packet.pts + (packet.duration or 0))
        except (FFmpegError, EOFError):
            pass  # what is behind the damage cannot be read either
    return to_microseconds(end - (first or 0), base) / MICROSECONDS if base else 0.0


class FrameReader:
    """Iterator over the frames of one file, with memory that does not depend on its length.

    The same array may come several times in a row.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.report = ReadReport(name=Path(path).name)
        with ExitStack() as opened:
            self._container = opened.enter_context(open_media(path))
            self._stream = video_stream(self._container, self.report.name)
            self._describe()
            self._opened = opened.pop_all()
        self._frames = self._resample()

    def __iter__(self) -> "FrameReader":
        return self

    def __next__(self) -> np.ndarray:
        return next(self._frames)

    def __enter__(self) -> "FrameReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def expected_frames(self) -> int | None:
        """Frames that the header promises, for a progress bar only; None where it does not say."""
        duration = self._container.duration  # microseconds
        return round(duration * VIDEO_FPS / 1_000_000) if duration else None

    def close(self) -> None:
        """Close the file; done by itself when the frames are used up."""
        self._frames.close()
        self._opened.close()

    def _describe(self) -> None:
        """What the headers tell; sizes are checked here so that nothing too large is ever decoded."""
        context, report = self._stream.codec_context, self.report
        self._check_size(context)
        report.container, report.codec = self._container.format.name, context.codec.name
        report.width, report.height = square_pixel_size(
            context.width, context.height, self._stream.sample_aspect_ratio
        )

    def _resample(self) -> Generator[np.ndarray, None, None]:
        report, grid = self.report, ConstantFrameRateResampler()
        held, last_step, duration = None, FRAME_US, 0
        aspect = self._stream.sample_aspect_ratio
        try:
            for frame, time in self._timed():
                if grid.start is not None:
                    last_step = self._check_step(grid, time)
                    if last_step <= 0:
                        continue
                yield from self._show(held, grid.push(time), aspect)
                held = frame
                duration = _duration(frame, last_step)
                self._note(grid, time + duration)
            yield from self._show(held, grid.finish(duration), aspect)
        finally:
            self._opened.close()
        if report.frames == 0:
            raise MediaError(f"{report.name}: not one frame could be decoded; export it again.")

    def _show(self, frame: Any, count: int, aspect: Any) -> Iterator[np.ndarray]:
        if count == 0 or frame is None:
            return
        pixels, report = to_rgb(frame, aspect), self.report
        report.height, report.width = pixels.shape[:2]
        report.rotation = frame.rotation % 360
        report.interlaced |= frame.interlaced_frame
        for _ in range(count):
            report.frames += 1
            yield pixels

    def _timed(self) -> Iterator[tuple[Any, int]]:
        """Decoded frames with their time in microseconds; a frame without one comes a step after the last."""
        rate = self._stream.average_rate
        step = int(MICROSECONDS / rate) if rate and 5 <= rate <= 120 else FRAME_US
        time = -step
        for frame in self._decode():
            stamp = frame.pts if frame.pts is not None else frame.dts
            base = frame.time_base
            time = time + step if stamp is None or base is None else to_microseconds(stamp, base)
            yield frame, time

    def _decode(self) -> Iterator[Any]:
        """Every frame that can be had: a damaged packet is counted and passed over."""
        from av import FFmpegError

        report, bad_in_a_row = self.report, 0
        packets = self._container.demux(self._stream)
        while bad_in_a_row < MAX_CONSECUTIVE_ERRORS:
            frames: list[Any] = []
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                report.corrupt += packet.is_corrupt
                frames = packet.decode()
                bad_in_a_row = 0
            except EOFError:
                return
            except FFmpegError:
                report.corrupt += 1
                bad_in_a_row += 1
                packets = self._container.demux(self._stream)  # goes on behind the damage
            for frame in frames:
                report.corrupt += bool(frame.is_corrupt)
                report.source_frames += 1
                self._check_size(frame)
                yield frame

    def _check_size(self, frame: Any) -> None:
        """Of a frame or a codec context."""
        if frame.width * frame.height > MAX_PIXELS:
            raise MediaError(
                f"{self.report.name}: frames of {frame.width}x{frame.height} pixels, "
                "expected 7680x4320 at most; scale the video down."
            )

    def _check_step(self, grid: ConstantFrameRateResampler, time: int) -> int:
        """Microseconds since the last frame; 0 when the frame has to be skipped. MediaError for a jump."""
        step, report = time - grid.previous, self.report
        if abs(step) > MAX_TIMESTAMP_JUMP_US:
            raise MediaError(
                f"{report.name}: the timestamps jump from {grid.previous / MICROSECONDS:.2f} s to "
                f"{time / MICROSECONDS:.2f} s; cut the file there, or export it again."
            )
        if step <= 0:
            report.skipped += 1
            return 0
        if (
            step > MIN_FROZEN_US
            and len(report.frozen_segments) < MAX_FROZEN_SEGMENTS
            and grid.start is not None
        ):
            report.frozen_segments.append(
                ((grid.previous - grid.start) / MICROSECONDS, (time - grid.start) / MICROSECONDS)
            )
        return step

    def _note(self, grid: ConstantFrameRateResampler, end: int) -> None:
        """Bring the report up to date after a frame that lasts until `end`."""
        report, start = self.report, grid.start or 0
        report.start = start / MICROSECONDS
        report.duration = (end - start) / MICROSECONDS
        used = report.source_frames - report.skipped
        if grid.previous > start:
            report.source_fps = round((used - 1) * MICROSECONDS / (grid.previous - start), 3)


def video_stream(container: Any, name: str) -> Any:
    """The moving picture of an open file called `name`, no cover art. MediaError if there is none."""
    from av.stream import Disposition

    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        what = "only a cover picture" if container.streams.video else "no video stream"
        raise MediaError(f"{name}: {what} in this file; expected a video of a talking face.")
    stream = max(streams, key=lambda s: bool(s.disposition & Disposition.default))
    if stream.codec_context is None:
        raise MediaError(f"{name}: its video codec is not known here; convert it to H.264.")
    stream.thread_type = "AUTO"
    # The header's size is checked by us; this is for a stream that changes its size on the way.
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    return stream


def _duration(frame: Any, last_step: int) -> int:
    """Microseconds the last frame stays: its own word if that can be true, else one instant at most."""
    base = frame.time_base
    if frame.duration and base is not None:
        own = to_microseconds(frame.duration, base)
        # Browsers write 1 ms, or nothing.
        if MICROSECONDS // 250 <= own <= MAX_TIMESTAMP_JUMP_US:
            return own
    return min(last_step, FRAME_US)


def to_microseconds(stamp: int, base: Fraction) -> int:
    """A time stamp in units of `base` seconds, rounded."""
    return (2 * stamp * base.numerator * MICROSECONDS + base.denominator) // (2 * base.denominator)


class _ForFFmpeg:
    """What FFmpeg needs of a file; a damaged header's seek to nowhere is answered by -1."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.tell, self._seek = file.read, file.tell, file.seek

    def seek(self, offset: int, whence: int = 0) -> int:
        """PyAV would print the traceback of an exception."""
        try:
            return self._seek(offset, whence)
        except (OSError, ValueError):
            return -1


def _refuse_other_files(url: str, flags: int, options: dict) -> Any:
    """Called by FFmpeg when a file wants to open another one or an address."""
    raise PermissionError(f"a reference to another file is not followed: {url!r}")


def _reason(error: Exception) -> str:
    """FFmpeg's words without the file name it adds."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
