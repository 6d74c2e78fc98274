"""Mux audio onto a video: copy the video packets where the container allows it, else re-encode them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lip2speech.audio.io import to_pcm
from lip2speech.constants import MUX_SUFFIXES, SAMPLE_RATE, VIDEO_FPS
from lip2speech.utils.files import FULL, atomic_write
from lip2speech.video.reader import first_frame_time, open_media, read_frames, video_stream

# Codecs for containers that do not take AAC and H.264.
AUDIO_CODECS = {".webm": "libopus", ".ogv": "libopus", ".avi": "pcm_s16le", ".wmv": "wmav2"}
VIDEO_CODECS = {".webm": "libvpx-vp9", ".ogv": "libvpx", ".avi": "mpeg4", ".wmv": "wmv2"}
WMA_BIT_RATE = 48_000  # the default of 128 kbit/s is refused for mono below 44.1 kHz
# AVI has no timestamps and ASF only decoding timestamps, so their frames are always re-encoded at 25 fps.
NO_TIMESTAMP_CONTAINERS = (".avi", ".wmv")
ISO_CONTAINERS = (".mp4", ".mov", ".m4v")
MAX_REORDERED = 16  # frames that a decoder of H.264 or HEVC may hold back
TAGGED_DEMUXERS = (
    "mov",
    "matroska",
)  # their codec tags are those of ISO files; others count in their own way


def mux(
    video: str | os.PathLike[str],
    wav: Tensor | NDArray[Any],
    out: str | os.PathLike[str],
    sample_rate: int = SAMPLE_RATE,
) -> None:
    """Write the video with `wav` (T_a,) as its only audio track, starting with the first frame, atomically.

    The video packets are copied, with their codec tag, if the container of `out` supports their codec;
    otherwise the frames are re-encoded at 25 fps.

    Raises:
        MediaError: the video cannot be read.
        ValueError: `out` is the video itself, or its suffix is not one of `MUX_SUFFIXES`.
    """
    video, out = Path(video), Path(out)
    if out.exists() and video.samefile(out):
        raise ValueError(f"{out.name}: this is the input video; choose another output file.")
    from av import FFmpegError

    if out.suffix.lower() not in MUX_SUFFIXES:
        raise ValueError(f"{out.name}: not a supported container; use one of {', '.join(MUX_SUFFIXES)}.")
    pcm = to_pcm(wav)
    with atomic_write(out) as temporary:
        for keep_tag in (True, False):  # a tag that only the source's container knows is left out
            try:
                return _copy_video(video, pcm, temporary, sample_rate, keep_tag=keep_tag)
            except (_CannotCopyError, FFmpegError) as error:
                if isinstance(error, OSError) and error.errno in FULL:
                    raise
        _encode_video(video, pcm, temporary, sample_rate)


class _CannotCopyError(Exception):
    """The container does not support the video packets as they are."""


def _copy_video(video: Path, pcm: NDArray[Any], out: Path, sample_rate: int, *, keep_tag: bool) -> None:
    """Mux the video packets, shifted so that the first frame is at 0, with the encoded audio."""
    import av

    start = first_frame_time(video)
    if out.suffix.lower() in NO_TIMESTAMP_CONTAINERS:
        raise _CannotCopyError
    with open_media(video) as source, av.open(str(out), "w") as sink:
        stream = video_stream(source, video.name)
        if start is None or stream.codec_context.name not in sink.supported_codecs:
            raise _CannotCopyError
        copied = sink.add_stream_from_template(stream)
        if keep_tag and out.suffix.lower() in ISO_CONTAINERS:
            copied.codec_context.codec_tag = _codec_tag(source, stream)
        audio = _add_audio_stream(sink, out.suffix, sample_rate)
        step = 1 / Fraction(stream.average_rate or VIDEO_FPS)
        packets = _fill_first_dts((packet for packet in source.demux(stream) if packet.size), step)
        _interleave(sink, copied, _shift_packets(packets, start), audio, pcm)


def _codec_tag(source: Any, stream: Any) -> str:
    """The four characters that name the codec of a stream to players of ISO files; zeros: FFmpeg's choice.

    One codec has several: `hvc1` and `hev1`, of which Apple's players take only the first; six of ProRes.
    """
    tag: str = stream.codec_context.codec_tag
    known = any(name in source.format.name.split(",") for name in TAGGED_DEMUXERS) and tag.strip("\0")
    if known:
        return tag
    return "hvc1" if stream.codec_context.name == "hevc" else "\0\0\0\0"


def _fill_first_dts(packets: Iterator[Any], step: Fraction) -> Iterator[Any]:
    """Packets, the first ones with decoding timestamps, `step` seconds apart, where they have none.

    Matroska stores presentation timestamps only; FFmpeg derives the others once it has seen as many packets
    as the codec reorders.
    """
    waiting: list[Any] = []
    for packet in packets:
        waiting.append(packet)
        if packet.dts is None and len(waiting) <= MAX_REORDERED:
            continue
        for k, earlier in enumerate(waiting[:-1]):
            if packet.dts is not None and earlier.pts is not None:
                ticks = packet.dts - round((len(waiting) - 1 - k) * step / packet.time_base)
                earlier.dts = min(ticks, earlier.pts)
        yield from waiting
        waiting = []
    yield from waiting


def _shift_packets(packets: Iterator[Any], start: Fraction) -> Iterator[Any]:
    """Video packets with `start` subtracted from their timestamps."""
    for packet in packets:
        if packet.dts is None or packet.pts is None:
            raise _CannotCopyError
        shift = round(start / packet.time_base)
        packet.dts -= shift
        packet.pts -= shift
        yield packet


def _encode_video(video: Path, pcm: NDArray[Any], out: Path, sample_rate: int) -> None:
    """Encode the frames at 25 fps with the container's codec, and the audio."""
    import av

    with read_frames(video) as frames, av.open(str(out), "w") as sink:
        codec = VIDEO_CODECS.get(out.suffix.lower(), "libx264")
        first = next(frames)
        height, width = first.shape[0] // 2 * 2, first.shape[1] // 2 * 2
        stream: Any = sink.add_stream(codec, rate=VIDEO_FPS, width=width, height=height, pix_fmt="yuv420p")
        audio = _add_audio_stream(sink, out.suffix, sample_rate)

        def packets() -> Iterator[Any]:
            for k, pixels in enumerate(chain([first], frames)):
                frame = av.VideoFrame.from_ndarray(
                    np.ascontiguousarray(pixels[:height, :width]), format="rgb24"
                )
                frame.pts, frame.time_base = k, Fraction(1, VIDEO_FPS)
                yield from stream.encode(frame)
            yield from stream.encode(None)

        _interleave(sink, stream, packets(), audio, pcm)


def _add_audio_stream(sink: Any, suffix: str, sample_rate: int) -> Any:
    stream = sink.add_stream(AUDIO_CODECS.get(suffix.lower(), "aac"), rate=sample_rate, layout="mono")
    if stream.codec_context.name == "wmav2":
        stream.bit_rate = WMA_BIT_RATE
    return stream


def _interleave(sink: Any, stream: Any, packets: Iterator[Any], audio: Any, pcm: NDArray[Any]) -> None:
    """Write both streams in order of time, so that players find them close together."""
    audio_packets = _encode_audio(audio, pcm)
    pending = next(audio_packets, None)
    for packet in packets:
        packet.stream = stream
        now = float(packet.dts * packet.time_base) if packet.dts is not None else 0.0
        while pending is not None and float((pending.dts or 0) * pending.time_base) <= now:
            sink.mux(pending)
            pending = next(audio_packets, None)
        sink.mux(packet)
    while pending is not None:
        sink.mux(pending)
        pending = next(audio_packets, None)


def _encode_audio(audio: Any, pcm: NDArray[Any], block_size: int = 16_000) -> Iterator[Any]:
    """Encoded packets of (T_a,) int16."""
    import av

    rate = audio.codec_context.sample_rate
    resampler = av.AudioResampler(format=audio.codec_context.format.name, layout="mono", rate=rate)
    for start in range(0, len(pcm), block_size):
        frame = av.AudioFrame.from_ndarray(pcm[None, start : start + block_size], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        for converted in resampler.resample(frame):
            yield from audio.encode(converted)
    for converted in resampler.resample(None):
        yield from audio.encode(converted)
    yield from audio.encode(None)
