"""Sound at the file door: read any sound as mono float, write 16-bit wav, put sound onto a video.

Sample 0 of a video's sound belongs to its first frame: what comes earlier is cut, a late start is filled
with silence. So frame k of `video.read_frames` and samples 640 k .. 640 k + 639 at 16 kHz are the same
40 ms. Knows files; knows no models.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lip2speech.audio.resample import Resampler, resample
from lip2speech.constants import MUX_SUFFIXES, SAMPLE_RATE, VIDEO_FPS
from lip2speech.files import atomic_write
from lip2speech.video.errors import MediaError
from lip2speech.video.formats import HEAD_BYTES, detect_demuxer, open_regular_file
from lip2speech.video.reader import open_media, read_frames, video_stream

PCM_PEAK = 32767
BLOCK = 1 << 16  # samples read at once
PLAIN_SOUND = ("wav", "flac", "aiff", "ogg")
MAX_SILENCE_S = 10.0  # a longer hole in a file's sound is damage
SMALL_DRIFT_S = 0.05  # timestamps of sound jitter by less; more is a hole
# What containers take that do not take AAC and H.264.
AUDIO_CODECS = {".webm": "libopus", ".ogv": "libopus", ".avi": "pcm_s16le", ".wmv": "wmav2"}
VIDEO_CODECS = {".webm": "libvpx-vp9", ".ogv": "libvpx", ".avi": "mpeg4", ".wmv": "wmv2"}
TIMELESS = (".avi",)  # has no time stamps: its frames must come at a steady rate, so they are never copied


def read_wav(path: str | os.PathLike, sample_rate: int = SAMPLE_RATE) -> Tensor:
    """Sound of a file, (T_a,) float32 in [-1, 1], mono, at `sample_rate`. MediaError where there is none."""
    with _open_sound(Path(path)) as (rate, pieces):
        wav = torch.cat(list(_checked(Path(path).name, pieces)))
    return resample(wav, rate, sample_rate)


@contextmanager
def wav_reader(
    path: str | os.PathLike, sample_rate: int = SAMPLE_RATE, block: int = BLOCK
) -> Iterator[Iterator[Tensor]]:
    """The samples of `read_wav` in pieces (block,), the last one shorter: any length, constant memory."""
    with _open_sound(Path(path)) as (rate, pieces):
        yield rechunk(_resampled(_checked(Path(path).name, pieces), Resampler(rate, sample_rate)), block)


def rechunk(pieces: Iterable[Tensor], block: int) -> Iterator[Tensor]:
    """Pieces (T_i,) of any length -> pieces (block,) of the same samples, the last one shorter."""
    held: list[Tensor] = []
    count = 0
    for piece in pieces:
        held.append(piece)
        count += len(piece)
        if count >= block:
            joined = torch.cat(held)
            whole = count // block * block
            yield from joined[:whole].split(block)
            held, count = [joined[whole:].clone()], count - whole
    if count:
        yield torch.cat(held)


def write_wav(path: str | os.PathLike, wav: Tensor | np.ndarray, sample_rate: int = SAMPLE_RATE) -> None:
    """Write (T_a,) floats as 16-bit PCM, clipped to [-1, 1]; the file appears whole or not at all."""
    import soundfile

    pcm = to_pcm(wav)
    with atomic_write(Path(path)) as temporary:
        soundfile.write(temporary, pcm, sample_rate, subtype="PCM_16", format="WAV")


@contextmanager
def wav_writer(path: str | os.PathLike, sample_rate: int = SAMPLE_RATE) -> Iterator[Callable[[Tensor], None]]:
    """A function that appends (T,) floats to a 16-bit wav; the file appears whole or not at all."""
    import soundfile

    with (
        atomic_write(Path(path)) as temporary,
        soundfile.SoundFile(temporary, "w", sample_rate, 1, subtype="PCM_16", format="WAV") as file,
    ):
        yield lambda wav: file.write(to_pcm(wav))


def to_pcm(wav: Tensor | np.ndarray) -> np.ndarray:
    """(T_a,) floats -> (T_a,) int16, clipped."""
    samples = np.asarray(wav.detach().cpu() if isinstance(wav, Tensor) else wav, dtype=np.float32)
    if samples.ndim != 1:
        raise ValueError(f"wav must be (T_a,), got {tuple(samples.shape)}; squeeze it first.")
    if not np.isfinite(samples).all():
        raise ValueError("wav holds values that are not numbers; nothing was written.")
    return np.rint(np.clip(samples, -1, 1) * PCM_PEAK).astype(np.int16)


def mux(
    video: str | os.PathLike, wav: Tensor | np.ndarray, out: str | os.PathLike, sample_rate: int = SAMPLE_RATE
) -> None:
    """Write the video with `wav` (T_a,) as its only sound; sample 0 sounds with the first frame.

    The pictures are copied as they are where `out`'s container takes their codec, else encoded anew at
    25 frames per second. The file appears whole or not at all.
    """
    video, out = Path(video), Path(out)
    if out.exists() and os.path.samefile(video, out):
        raise ValueError(f"{out.name}: this is the video itself; name another file for the result.")
    from av import FFmpegError

    if out.suffix.lower() not in MUX_SUFFIXES:
        raise ValueError(f"{out.name}: not a kind of video we write; name it {', '.join(MUX_SUFFIXES)}.")
    pcm = to_pcm(wav)
    with atomic_write(out) as temporary:
        try:
            _copy_with_sound(video, pcm, temporary, sample_rate)
        except (_CannotCopy, FFmpegError):
            _encode_with_sound(video, pcm, temporary, sample_rate)


# Reading


Pieces = Iterator[np.ndarray]


@contextmanager
def _open_sound(path: Path) -> Iterator[tuple[int, Pieces]]:
    """The sample rate and mono pieces (n,) float32, sample 0 at the first video frame if there is video."""
    with ExitStack() as stack:
        opened = _open_plain(path, stack)
        yield _open_any(path, stack) if opened is None else opened


def _open_plain(path: Path, stack: ExitStack) -> tuple[int, Pieces] | None:
    """The same by libsndfile, which gives these formats to the sample; None for any other."""
    import soundfile

    file = stack.enter_context(open_regular_file(path))
    if detect_demuxer(file.read(HEAD_BYTES)) not in PLAIN_SOUND:
        return None
    file.seek(0)
    try:
        sound = stack.enter_context(soundfile.SoundFile(file))
    except soundfile.LibsndfileError:  # a codec it does not know, or film in Ogg
        return None
    return sound.samplerate, _plain_pieces(path.name, sound)


def _plain_pieces(name: str, sound: Any) -> Pieces:
    import soundfile

    try:
        while len(block := sound.read(BLOCK, dtype="float32", always_2d=True)):
            yield block.mean(1)
    except soundfile.LibsndfileError as error:
        raise MediaError(f"{name}: its sound is damaged ({error}); export it again.") from None


def _open_any(path: Path, stack: ExitStack) -> tuple[int, Pieces]:
    """The same by PyAV."""
    container = stack.enter_context(open_media(path))
    if not container.streams.audio:
        raise MediaError(f"{path.name}: no sound in this file.")
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        raise MediaError(f"{path.name}: its sound codec is not known here; convert it to AAC or WAV.")
    start = _first_frame_time(path) if _has_video(container) else None
    pieces = _placed_pieces(path.name, container, stream, start)
    first = list(islice(pieces, 1))  # a decoder may learn the true rate from its first packet
    return stream.codec_context.sample_rate, chain(first, pieces)


def _checked(name: str, pieces: Pieces) -> Iterator[Tensor]:
    """Pieces (n,) as tensors; MediaError where one holds what is no number, or all hold nothing."""
    empty = True
    for piece in pieces:
        wav = torch.from_numpy(np.ascontiguousarray(piece, dtype=np.float32))
        if not torch.isfinite(wav).all():
            raise MediaError(f"{name}: its sound holds values that are not numbers; export it again.")
        empty = False
        yield wav
    if empty:
        raise MediaError(f"{name}: its sound has no samples; export it again.")


def _resampled(pieces: Iterator[Tensor], resampler: Resampler) -> Iterator[Tensor]:
    state = None
    for piece in rechunk(pieces, BLOCK):  # a window costs the same for a short piece as for a long one
        wav, state = resampler.step(piece, state)
        yield wav
    yield resampler.step(torch.zeros(0), state, last=True)[0]


def _placed_pieces(name: str, container: Any, stream: Any, start: Fraction | None) -> Iterator[np.ndarray]:
    """Mono pieces (n,) float32 that follow each other without holes: silence where the file has nothing."""
    rate, given = stream.codec_context.sample_rate, 0
    for frame in _decode_sound(container, stream):
        piece = _mono(frame)
        if frame.pts is not None and frame.time_base is not None:
            time = frame.pts * frame.time_base
            start = time if start is None else start
            ahead = round((time - start) * rate) - given
            if ahead > rate * MAX_SILENCE_S:
                raise MediaError(
                    f"{name}: nothing for {ahead / rate:.0f} s in its sound at {given / rate:.2f} s; "
                    "export it again."
                )
            # The start is placed to the sample; later only a real hole or overlap is.
            if given == 0 or abs(ahead) > rate * SMALL_DRIFT_S:
                piece = np.concatenate([np.zeros(ahead, np.float32), piece]) if ahead > 0 else piece[-ahead:]
        given += len(piece)
        if len(piece):
            yield piece


def _decode_sound(container: Any, stream: Any) -> Iterator[Any]:
    """Sound frames; damaged packets are passed over."""
    import av

    packets = container.demux(stream)
    while True:
        try:
            yield from next(packets).decode()
        except StopIteration:
            return
        except EOFError:
            return
        except av.FFmpegError:
            continue


def _mono(frame: Any) -> np.ndarray:
    """(n,) float32 of a decoded sound frame of any sample format: the mean of its channels."""
    samples = frame.to_ndarray()
    channels = frame.layout.nb_channels
    if not frame.format.is_planar:
        samples = samples.reshape(-1, channels).T
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32).mean(0) - 128) / 128
    if np.issubdtype(samples.dtype, np.integer):
        return (samples.mean(0, dtype=np.float64) / -float(np.iinfo(samples.dtype).min)).astype(np.float32)
    return samples.mean(0, dtype=np.float64).astype(np.float32)


def _has_video(container: Any) -> bool:
    try:
        video_stream(container, "")
    except MediaError:
        return False
    return True


def _first_frame_time(path: Path) -> Fraction | None:
    """Time stamp of the first frame that is shown, None if the file shows none."""
    try:
        with read_frames(path) as frames:
            next(frames)
            return Fraction(frames.report.start).limit_denominator(1_000_000)
    except (MediaError, StopIteration):
        return None


# Muxing


class _CannotCopy(Exception):
    """The container does not take the video's packets as they are."""


def _copy_with_sound(video: Path, pcm: np.ndarray, out: Path, sample_rate: int) -> None:
    """Packets of the video, moved in time so that its first frame is at 0, and the encoded sound."""
    import av

    start = _first_frame_time(video)
    if out.suffix.lower() in TIMELESS:
        raise _CannotCopy
    with open_media(video) as source, av.open(str(out), "w") as sink:
        stream = video_stream(source, video.name)
        if start is None or stream.codec_context.name not in sink.supported_codecs:
            raise _CannotCopy
        copied = sink.add_stream_from_template(stream)
        sound = _sound_stream(sink, out.suffix, sample_rate)
        _interleave(sink, copied, _moved(source.demux(stream), start), sound, pcm)


def _moved(packets: Iterator[Any], start: Fraction) -> Iterator[Any]:
    """Video packets with `start` taken from their times; those without a time cannot be copied."""
    for packet in packets:
        if packet.size == 0:
            continue
        if packet.dts is None or packet.pts is None:
            raise _CannotCopy
        shift = round(start / packet.time_base)
        packet.dts -= shift
        packet.pts -= shift
        yield packet


def _encode_with_sound(video: Path, pcm: np.ndarray, out: Path, sample_rate: int) -> None:
    """The video's frames at 25 per second, encoded as the container likes them, and the sound."""
    import av

    with read_frames(video) as frames, av.open(str(out), "w") as sink:
        codec = VIDEO_CODECS.get(out.suffix.lower(), "libx264")
        first = next(frames)
        height, width = first.shape[0] // 2 * 2, first.shape[1] // 2 * 2
        stream: Any = sink.add_stream(codec, rate=VIDEO_FPS, width=width, height=height, pix_fmt="yuv420p")
        sound = _sound_stream(sink, out.suffix, sample_rate)

        def packets() -> Iterator[Any]:
            for k, pixels in enumerate(_with(first, frames)):
                frame = av.VideoFrame.from_ndarray(
                    np.ascontiguousarray(pixels[:height, :width]), format="rgb24"
                )
                frame.pts, frame.time_base = k, Fraction(1, VIDEO_FPS)
                yield from stream.encode(frame)
            yield from stream.encode(None)

        _interleave(sink, stream, packets(), sound, pcm)


def _with(first: np.ndarray, rest: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield first
    yield from rest


def _sound_stream(sink: Any, suffix: str, sample_rate: int) -> Any:
    return sink.add_stream(AUDIO_CODECS.get(suffix.lower(), "aac"), rate=sample_rate, layout="mono")


def _interleave(sink: Any, stream: Any, packets: Iterator[Any], sound: Any, pcm: np.ndarray) -> None:
    """Write both streams in order of time, so that a player finds them side by side."""
    sounds = _sound_packets(sound, pcm)
    waiting = next(sounds, None)
    for packet in packets:
        packet.stream = stream
        now = float(packet.dts * packet.time_base) if packet.dts is not None else 0.0
        while waiting is not None and float((waiting.dts or 0) * waiting.time_base) <= now:
            sink.mux(waiting)
            waiting = next(sounds, None)
        sink.mux(packet)
    while waiting is not None:
        sink.mux(waiting)
        waiting = next(sounds, None)


def _sound_packets(sound: Any, pcm: np.ndarray, block: int = 16_000) -> Iterator[Any]:
    """Encoded packets of (T_a,) int16."""
    import av

    rate = sound.codec_context.sample_rate
    resampler = av.AudioResampler(format=sound.codec_context.format.name, layout="mono", rate=rate)
    for start in range(0, len(pcm), block):
        frame = av.AudioFrame.from_ndarray(pcm[None, start : start + block], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        for part in resampler.resample(frame):
            yield from sound.encode(part)
    for part in resampler.resample(None):
        yield from sound.encode(part)
    yield from sound.encode(None)
