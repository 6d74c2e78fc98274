"""Video file -> a stream of RGB frames at exactly 25 fps, based on the file's own timestamps.

The frame rate, frame count and duration in the headers are never used: browser recordings lack them or get
them wrong. Every packet is decoded; `ConstantFrameRateResampler` picks frames by time. Decoding is PyAV's.
"""

import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

from numpy.typing import NDArray

from lip2speech.constants import VIDEO_FPS
from lip2speech.video.errors import MediaError
from lip2speech.video.formats import ACCEPTED, detect_file_demuxer, open_regular_file
from lip2speech.video.frame_conversion import square_pixel_size, to_rgb
from lip2speech.video.frame_rate import FRAME_US, MICROSECONDS, ConstantFrameRateResampler, JoinedClock
from lip2speech.video.joined import refuse_joined
from lip2speech.video.missing_frames import MissingFrame, frames_after_the_end, repeats

READ_BYTES = 1 << 18  # per call from FFmpeg into Python
MAX_PIXELS = 7680 * 4320  # one 8K frame; more is an error or an attack on memory
MIN_FROZEN_US = MICROSECONDS // 5  # a frame shown longer is reported: 0.2 s of speech never look the same
MAX_FROZEN_SEGMENTS = 1000  # listed individually; a slide show of ten hours must not fill memory
MAX_TIMESTAMP_JUMP_US = 10 * MICROSECONDS  # forward; more is a damaged file
MAX_CONSECUTIVE_SKIPPED = 25  # frames whose timestamp does not increase; more would be lost silently
MAX_CONSECUTIVE_ERRORS = 1000  # damaged packets after which the rest of the file is skipped


@dataclass
class ReadReport:
    """Properties of a video as found while reading; complete at the end of the frames.

    Attributes:
        name: file name.
        container: FFmpeg's name of the demuxer.
        codec: FFmpeg's name of the video codec.
        width: of the output frames (upright, square pixels).
        height: of the output frames.
        rotation: in the metadata, in degrees; the output frames are upright.
        interlaced: whether any frame was interlaced.
        source_fps: frame rate measured from timestamps, 0.0 for a single frame.
        start: timestamp of the first frame, s. Output frame k is at start + k / 25.
        duration: from the first frame to the end of the last, s.
        source_frames: frames decoded.
        frames: output frames.
        corrupt: packets that could not be decoded, and frames the decoder had to conceal.
        missing: output frames that stand in a gap of more than 0.5 s, and those promised after the end.
        skipped: frames whose timestamp is not after that of the frame before.
        restarts: how often the timestamps start again, in files joined end to end; time goes on there.
        frozen_segments: (start_s, end_s) in which one frame lasts for more than 0.2 s.
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
    missing: int = 0
    skipped: int = 0
    restarts: int = 0
    frozen_segments: list[tuple[float, float]] = field(default_factory=list)


@contextmanager
def open_media(path: str | os.PathLike[str], expected: str = "video") -> Iterator[Any]:
    """An open PyAV container of a regular file in an accepted format; `expected`: "video" or "audio".

    We name the demuxer and open the file, and FFmpeg may open nothing else.

    Raises:
        MediaError: not a regular file, not an accepted format, damaged, or two files of which FFmpeg would
            read only the first.
    """
    import av

    name = Path(path).name
    with open_regular_file(path, expected) as file:
        demuxer = detect_file_demuxer(file)
        if demuxer is None:
            raise MediaError(
                f"{name}: not an accepted {expected} format; convert it to one of {ACCEPTED[expected]}."
            )
        refuse_joined(file, demuxer, name)
        try:
            container = av.open(
                _SafeFile(file),
                format=demuxer,
                io_open=_refuse_other_files,
                metadata_errors="ignore",
                buffer_size=READ_BYTES,
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            raise MediaError(f"{name}: damaged or incomplete ({_reason(error)}); export it again.") from None
        with container:
            yield container


def read_frames(path: str | os.PathLike[str]) -> "FrameReader":
    """The frames of a video at exactly 25 fps: an iterator of (H, W, 3) uint8 RGB with a `.report`.

    Raises:
        MediaError: the file cannot be opened or has no video; while iterating, its timestamps are broken.
    """
    return FrameReader(path)


def media_duration(path: str | os.PathLike[str]) -> float:
    """Duration in seconds of a video or audio file, from packet timestamps; nothing is decoded.

    Raises:
        MediaError: the file cannot be opened, or has neither video nor audio.
    """
    from av import FFmpegError

    with open_media(path) as container:
        streams = container.streams.video or container.streams.audio
        if not streams:
            raise MediaError(f"{Path(path).name}: neither video nor audio in this file; export it again.")
        base, first, end, clock = streams[0].time_base, None, 0, JoinedClock()
        try:
            for packet in container.demux(streams[0]):
                if packet.pts is not None and base is not None:
                    clock(to_microseconds(packet.pts if packet.dts is None else packet.dts, base))
                    time = packet.pts + round(Fraction(clock.offset, MICROSECONDS) / base)
                    first = time if first is None else min(first, time)
                    end = max(end, time + (packet.duration or 0))
        except (FFmpegError, EOFError):
            pass  # nothing after the damage can be read
    return to_microseconds(end - (first or 0), base) / MICROSECONDS if base else 0.0


def first_frame_time(path: str | os.PathLike[str]) -> Fraction | None:
    """Timestamp in seconds of the first frame of a video; None without any."""
    try:
        with read_frames(path) as frames:
            next(frames)
            return Fraction(frames.report.start).limit_denominator(MICROSECONDS)
    except (MediaError, StopIteration):
        return None


class FrameReader:
    """Iterator over the frames of one file, in constant memory; see `read_frames`.

    The same array may be returned several times in a row; in a long gap it is a `MissingFrame`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.report = ReadReport(name=Path(path).name)
        with ExitStack() as resources:
            self._container = resources.enter_context(open_media(path))
            self._stream = video_stream(self._container, self.report.name)
            self._read_header()
            self._resources = resources.pop_all()
        self._consecutive_skipped = 0
        self._packets = 0  # with data
        self._frames = self._resample()

    def __iter__(self) -> "FrameReader":
        return self

    def __next__(self) -> NDArray[Any]:
        return next(self._frames)

    def __enter__(self) -> "FrameReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def expected_frames(self) -> int | None:
        """Number of frames according to the header, for progress bars only; None if unknown."""
        duration = self._container.duration  # microseconds
        return round(duration * VIDEO_FPS / MICROSECONDS) if duration else None

    def close(self) -> None:
        """Close the file; happens by itself at the end of the frames."""
        self._frames.close()
        self._resources.close()

    def _read_header(self) -> None:
        """Fill in the report, and check the frame size before anything is decoded."""
        context, report = self._stream.codec_context, self.report
        self._check_size(context)
        report.container, report.codec = self._container.format.name, context.codec.name
        report.width, report.height = square_pixel_size(
            context.width, context.height, self._stream.sample_aspect_ratio
        )

    def _resample(self) -> Generator[NDArray[Any], None, None]:
        report, resampler = self.report, ConstantFrameRateResampler()
        previous, last_step, duration = None, FRAME_US, 0
        aspect = self._stream.sample_aspect_ratio
        try:
            for frame, time in self._timed_frames():
                if resampler.start is not None:
                    last_step = self._check_step(resampler, time)
                    if last_step <= 0:
                        continue
                yield from self._repeat(previous, resampler.push(time), aspect)
                previous = frame
                duration = _frame_duration(frame, last_step)
                self._update_times(resampler, time + duration)
            yield from self._repeat(previous, resampler.finish(duration), aspect)
            span = (resampler.previous - (resampler.start or 0)) / MICROSECONDS
            report.missing += frames_after_the_end(self._container, self._stream, self._packets, span)
        finally:
            self._resources.close()
        if report.frames == 0:
            raise MediaError(f"{report.name}: no frame could be decoded; export it again.")

    def _repeat(self, frame: Any, count: int, aspect: Any) -> Iterator[NDArray[Any]]:
        """One decoded frame as `count` output frames."""
        if count == 0 or frame is None:
            return
        pixels, report = to_rgb(frame, aspect), self.report
        report.height, report.width = pixels.shape[:2]
        report.rotation = frame.rotation % 360
        report.interlaced |= frame.interlaced_frame
        for output in repeats(pixels, count):
            report.frames += 1
            report.missing += isinstance(output, MissingFrame)
            yield output

    def _timed_frames(self) -> Iterator[tuple[Any, int]]:
        """Decoded frames and timestamps in microseconds; a missing one is a frame interval after the last."""
        rate = self._stream.average_rate
        step = int(MICROSECONDS / rate) if rate and 5 <= rate <= 120 else FRAME_US
        time, clock = -step, JoinedClock()
        for frame in self._decode():
            timestamp = frame.pts if frame.pts is not None else frame.dts
            base = frame.time_base
            time = time + step if timestamp is None or base is None else to_microseconds(timestamp, base)
            continuous = clock(time)
            self.report.restarts = clock.n_restarts
            yield frame, continuous

    def _decode(self) -> Iterator[Any]:
        """Every frame that can be decoded; damaged packets are counted and skipped."""
        from av import FFmpegError

        report, consecutive_errors = self.report, 0
        packets = self._container.demux(self._stream)
        while consecutive_errors < MAX_CONSECUTIVE_ERRORS:
            frames: list[Any] = []
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                report.corrupt += packet.is_corrupt
                self._packets += packet.size > 0
                frames = packet.decode()
                consecutive_errors = 0
            except EOFError:
                return
            except FFmpegError:
                report.corrupt += 1
                consecutive_errors += 1
                packets = self._container.demux(self._stream)  # resumes after the damage
            for frame in frames:
                report.corrupt += bool(frame.is_corrupt)
                report.source_frames += 1
                self._check_size(frame)
                yield frame

    def _check_size(self, frame: Any) -> None:
        """MediaError if a frame, or a codec context, is too large."""
        if frame.width * frame.height > MAX_PIXELS:
            raise MediaError(
                f"{self.report.name}: frames of {frame.width}x{frame.height} pixels, "
                "expected 7680x4320 at most; scale the video down."
            )

    def _check_step(self, resampler: ConstantFrameRateResampler, time: int) -> int:
        """Microseconds since the last frame; 0 if the frame must be skipped. MediaError for a large jump."""
        step, report = time - resampler.previous, self.report
        if step > MAX_TIMESTAMP_JUMP_US:
            raise MediaError(
                f"{report.name}: the timestamps jump from {resampler.previous / MICROSECONDS:.2f} s to "
                f"{time / MICROSECONDS:.2f} s; cut the file there, or export it again."
            )
        if step <= 0:
            report.skipped += 1
            self._consecutive_skipped += 1
            if self._consecutive_skipped > MAX_CONSECUTIVE_SKIPPED:
                raise MediaError(
                    f"{report.name}: the timestamps stand still at "
                    f"{resampler.previous / MICROSECONDS:.2f} s; cut the file there, or export it again."
                )
            return 0
        self._consecutive_skipped = 0
        if step > MIN_FROZEN_US and len(report.frozen_segments) < MAX_FROZEN_SEGMENTS:
            start = resampler.start or 0
            segment = (resampler.previous - start) / MICROSECONDS, (time - start) / MICROSECONDS
            report.frozen_segments.append(segment)
        return step

    def _update_times(self, resampler: ConstantFrameRateResampler, end: int) -> None:
        """Update the report after a frame that lasts until `end`."""
        report, start = self.report, resampler.start or 0
        report.start = start / MICROSECONDS
        report.duration = (end - start) / MICROSECONDS
        n_used = report.source_frames - report.skipped
        if resampler.previous > start:
            report.source_fps = round((n_used - 1) * MICROSECONDS / (resampler.previous - start), 3)


def video_stream(container: Any, name: str) -> Any:
    """The video stream of an open file called `name`, not its cover art; MediaError if there is none."""
    from av.stream import Disposition

    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        found = "only cover art" if container.streams.video else "no video stream"
        raise MediaError(f"{name}: {found} in this file; expected a video of a talking face.")
    stream = max(streams, key=lambda s: bool(s.disposition & Disposition.default))
    if stream.codec_context is None:
        raise MediaError(f"{name}: unknown video codec; convert it to H.264.")
    stream.thread_type = "AUTO"
    # The size in the header is checked by us; this is for streams that change their size later.
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    return stream


def has_video(container: Any) -> bool:
    """Whether an open file has a video stream that can be decoded."""
    try:
        video_stream(container, "")
    except MediaError:
        return False
    return True


def _frame_duration(frame: Any, last_step: int) -> int:
    """Duration of the last frame in microseconds: its own if plausible, else at most one output frame."""
    base = frame.time_base
    if frame.duration and base is not None:
        duration = to_microseconds(frame.duration, base)
        # Browsers write 1 ms, or nothing.
        if MICROSECONDS // 250 <= duration <= MAX_TIMESTAMP_JUMP_US:
            return duration
    return min(last_step, FRAME_US)


def to_microseconds(timestamp: int, base: Fraction) -> int:
    """A timestamp in units of `base` seconds, rounded to microseconds."""
    return (2 * timestamp * base.numerator * MICROSECONDS + base.denominator) // (2 * base.denominator)


class _SafeFile:
    """The file interface FFmpeg needs; a damaged header's seek to an impossible position returns -1."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.tell, self._seek = file.read, file.tell, file.seek

    def seek(self, offset: int, whence: int = 0) -> int:
        """PyAV would print the traceback of an exception."""
        try:
            return self._seek(offset, whence)
        except (OSError, ValueError):
            return -1


def _refuse_other_files(url: str, flags: int, options: dict[str, str]) -> Any:
    """Called by FFmpeg when a file refers to another file or a URL."""
    raise PermissionError(f"references to other files are not followed: {url!r}")


def _reason(error: Exception) -> str:
    """FFmpeg's message without the file name it adds."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
