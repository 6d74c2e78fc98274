"""Audio files: read any audio as mono float; write 16-bit WAV and FLAC, Ogg Vorbis, MP3, AAC in MP4.

Sample 0 of a video's audio belongs to its first frame: earlier audio is cut, a late start is padded with
silence. So frame k of `video.read_frames` and samples 640 k .. 640 k + 639 at 16 kHz cover the same 40 ms.
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
from numpy.typing import NDArray
from torch import Tensor

from lip2speech.audio.resample import Resampler, resample
from lip2speech.constants import AUDIO_SUFFIXES, SAMPLE_RATE
from lip2speech.utils.files import CheckedFile, atomic_write
from lip2speech.video.errors import MediaError
from lip2speech.video.formats import detect_file_demuxer, open_regular_file
from lip2speech.video.joined import refuse_joined
from lip2speech.video.reader import first_frame_time, has_video, open_media

PCM_PEAK = 32767
SOUNDFILE_TYPES = {
    ".wav": ("WAV", "PCM_16"), ".flac": ("FLAC", "PCM_16"), ".ogg": ("OGG", "VORBIS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}  # fmt: skip
"""Suffix -> format and subtype of libsndfile; the one other suffix of `AUDIO_SUFFIXES` is FFmpeg's."""
AAC_BIT_RATE = 64_000
BLOCK_SIZE = 1 << 16  # samples read at once
SOUNDFILE_FORMATS = ("wav", "flac", "aiff", "ogg")
MAX_SILENCE_S = 10.0  # a longer hole in the audio is damage
MIN_RESTART_S = Fraction(1, 5)  # timestamps that go back by more start again: another file
MAX_JITTER_S = 0.05  # audio timestamps jitter by less; more is a hole

Blocks = Iterator[NDArray[Any]]
"""Consecutive mono blocks (n,) float32."""
Write = Callable[[Tensor | NDArray[Any]], None]
"""Appends (T_a,) floats to an open file."""


def read_wav(path: str | os.PathLike[str], sample_rate: int = SAMPLE_RATE) -> Tensor:
    """The audio of a file, (T_a,) float32 in [-1, 1], mono, at `sample_rate`.

    Raises:
        MediaError: the file cannot be read, or has no audio.
    """
    with _open_audio(Path(path)) as (rate, blocks):
        wav = torch.cat(list(_validate(Path(path).name, blocks)))
    return resample(wav, rate, sample_rate)


@contextmanager
def wav_reader(
    path: str | os.PathLike[str], sample_rate: int = SAMPLE_RATE, block_size: int = BLOCK_SIZE
) -> Iterator[Iterator[Tensor]]:
    """`read_wav` in blocks (block_size,), the last one shorter: any length in constant memory."""
    with _open_audio(Path(path)) as (rate, blocks):
        resampled = _resample_blocks(_validate(Path(path).name, blocks), Resampler(rate, sample_rate))
        yield rechunk(resampled, block_size)


def rechunk(blocks: Iterable[Tensor], block_size: int) -> Iterator[Tensor]:
    """Blocks (T_i,) of any length -> the same samples in blocks (block_size,), the last one shorter."""
    pending: list[Tensor] = []
    count = 0
    for block in blocks:
        pending.append(block)
        count += len(block)
        if count >= block_size:
            joined = torch.cat(pending)
            complete = count // block_size * block_size
            yield from torch.split(joined[:complete], block_size)
            pending, count = [joined[complete:].clone()], count - complete
    if count:
        yield torch.cat(pending)


def write_wav(
    path: str | os.PathLike[str], wav: Tensor | NDArray[Any], sample_rate: int = SAMPLE_RATE
) -> None:
    """Write (T_a,) floats as 16-bit PCM, clipped to [-1, 1], atomically."""
    with wav_writer(path, sample_rate) as write:
        write(wav)


@contextmanager
def wav_writer(path: str | os.PathLike[str], sample_rate: int = SAMPLE_RATE) -> Iterator[Write]:
    """A function that appends (T_a,) floats to a 16-bit WAV, which appears once complete; any length in
    constant memory.

    Raises:
        OSError: names `path`; the disk is full, or the file cannot be written.
    """
    with (
        atomic_write(path) as temporary,
        _soundfile_writer(Path(path).name, temporary, sample_rate, *SOUNDFILE_TYPES[".wav"]) as write,
    ):
        yield write


@contextmanager
def audio_writer(path: str | os.PathLike[str], sample_rate: int = SAMPLE_RATE) -> Iterator[Write]:
    """`wav_writer` for every suffix of `AUDIO_SUFFIXES`, which decides the format.

    Raises:
        ValueError: another suffix.
        OSError: as `wav_writer`.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in AUDIO_SUFFIXES:
        raise ValueError(f"{path.name}: expected a name that ends in one of {' '.join(AUDIO_SUFFIXES)}.")
    with atomic_write(path) as temporary:
        if suffix in SOUNDFILE_TYPES:
            writer = _soundfile_writer(path.name, temporary, sample_rate, *SOUNDFILE_TYPES[suffix])
        else:
            writer = _aac_writer(temporary, sample_rate)
        with writer as write:
            yield write


@contextmanager
def _soundfile_writer(
    name: str, path: Path, sample_rate: int, container: str, subtype: str
) -> Iterator[Write]:
    """By libsndfile; its own errors, which say no more than "System error", become those of the system."""
    import soundfile

    with CheckedFile(path) as file:

        def write(wav: Tensor | NDArray[Any]) -> None:
            audio.write(to_pcm(wav))
            file.check()

        try:
            with soundfile.SoundFile(file, "w", sample_rate, 1, subtype=subtype, format=container) as audio:
                yield write
        except (soundfile.LibsndfileError, AssertionError) as error:  # it asserts that all was written
            file.check()
            if isinstance(error, AssertionError):
                raise
            raise OSError(f"{name}: cannot be written ({error}); choose another format.") from error
        file.check()


@contextmanager
def _aac_writer(path: Path, sample_rate: int) -> Iterator[Write]:
    """By FFmpeg: AAC in MP4."""
    import av

    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=sample_rate, layout="mono")
        stream.bit_rate = AAC_BIT_RATE
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=sample_rate)  # the rate stays
        n_samples = 0

        def write(wav: Tensor | NDArray[Any]) -> None:
            nonlocal n_samples
            pcm = to_pcm(wav)
            if not len(pcm):
                return
            frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = sample_rate, n_samples
            frame.time_base = Fraction(1, sample_rate)
            n_samples += len(pcm)
            for converted in resampler.resample(frame):
                container.mux(stream.encode(converted))

        yield write
        for converted in resampler.resample(None):
            container.mux(stream.encode(converted))
        container.mux(stream.encode(None))


def to_pcm(wav: Tensor | NDArray[Any]) -> NDArray[Any]:
    """(T_a,) floats -> (T_a,) int16, clipped."""
    samples = np.asarray(wav.detach().cpu() if isinstance(wav, Tensor) else wav, dtype=np.float32)
    if samples.ndim != 1:
        raise ValueError(f"wav must be (T_a,), got {tuple(samples.shape)}; squeeze it first.")
    if not np.isfinite(samples).all():
        raise ValueError("wav has NaN or infinite samples; nothing was written.")
    pcm: NDArray[Any] = np.rint(np.clip(samples, -1, 1) * PCM_PEAK).astype(np.int16)
    return pcm


@contextmanager
def _open_audio(path: Path) -> Iterator[tuple[int, Blocks]]:
    """The sample rate and mono blocks, starting at the first video frame if there is video."""
    with ExitStack() as stack:
        opened = _open_soundfile(path, stack)
        yield _open_pyav(path, stack) if opened is None else opened


def _open_soundfile(path: Path, stack: ExitStack) -> tuple[int, Blocks] | None:
    """By libsndfile, which is sample-exact for the formats it supports; None for any other."""
    import soundfile

    file = stack.enter_context(open_regular_file(path, "audio"))
    demuxer = detect_file_demuxer(file)
    if demuxer not in SOUNDFILE_FORMATS:
        return None
    refuse_joined(file, demuxer, path.name)
    try:
        audio = stack.enter_context(soundfile.SoundFile(file))
    except soundfile.LibsndfileError:  # an unsupported codec, or video in Ogg
        return None
    return audio.samplerate, _soundfile_blocks(path.name, audio)


def _soundfile_blocks(name: str, audio: Any) -> Blocks:
    import soundfile

    try:
        while len(block := audio.read(BLOCK_SIZE, dtype="float32", always_2d=True)):
            yield block.mean(1)
    except soundfile.LibsndfileError as error:
        raise MediaError(f"{name}: its audio is damaged ({error}); export it again.") from None


def _open_pyav(path: Path, stack: ExitStack) -> tuple[int, Blocks]:
    """By FFmpeg, for everything else."""
    container = stack.enter_context(open_media(path, "audio"))
    if not container.streams.audio:
        raise MediaError(f"{path.name}: no audio in this file; choose one with an audio track.")
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        raise MediaError(f"{path.name}: unknown audio codec; convert it to AAC or WAV.")
    start = first_frame_time(path) if has_video(container) else None
    blocks = _timestamp_aligned_blocks(path.name, container, stream, start)
    first = list(islice(blocks, 1))  # a decoder may learn the true rate from its first packet
    return stream.codec_context.sample_rate, chain(first, blocks)


def _validate(name: str, blocks: Blocks) -> Iterator[Tensor]:
    """Blocks as tensors; MediaError for NaN or infinite samples, or none at all."""
    empty = True
    for block in blocks:
        wav = torch.from_numpy(np.ascontiguousarray(block, dtype=np.float32))
        if not torch.isfinite(wav).all():
            raise MediaError(f"{name}: its audio has NaN or infinite samples; export it again.")
        empty = False
        yield wav
    if empty:
        raise MediaError(f"{name}: its audio has no samples; export it again.")


def _resample_blocks(blocks: Iterator[Tensor], resampler: Resampler) -> Iterator[Tensor]:
    state = None
    for block in rechunk(blocks, BLOCK_SIZE):  # the cost of a call hardly depends on the block's length
        wav, state = resampler.step(block, state)
        yield wav
    yield resampler.step(torch.zeros(0), state, last=True)[0]


def _timestamp_aligned_blocks(name: str, container: Any, stream: Any, start: Fraction | None) -> Blocks:
    """Mono blocks from `start` on without holes: missing audio becomes silence, overlapping audio is cut."""
    rate, n_samples = stream.codec_context.sample_rate, 0
    end: Fraction | None = None  # timestamp at the end of the block before
    lead = Fraction(0)  # of the audio before the video
    for frame in _decode(container, stream):
        block = _to_mono(frame)
        if frame.pts is not None and frame.time_base is not None:
            time = frame.pts * frame.time_base
            start = time if start is None else start
            lead = start - time if end is None else lead
            if end is not None and time < end - MIN_RESTART_S:  # files joined end to end: time goes on
                start += time - end + max(lead, 0)
            end = time + Fraction(len(block), rate)
            missing = round((time - start) * rate) - n_samples
            if missing > rate * MAX_SILENCE_S:
                raise MediaError(
                    f"{name}: {missing / rate:.0f} s of audio are missing at {n_samples / rate:.2f} s; "
                    "export it again."
                )
            # The start is aligned to the sample; after that only real holes and overlaps are corrected.
            if n_samples == 0 or abs(missing) > rate * MAX_JITTER_S:
                silence = np.zeros(max(0, missing), np.float32)
                block = np.concatenate([silence, block]) if missing > 0 else block[-missing:]
        n_samples += len(block)
        if len(block):
            yield block


def _decode(container: Any, stream: Any) -> Iterator[Any]:
    """Audio frames; damaged packets are skipped."""
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


def _to_mono(frame: Any) -> NDArray[Any]:
    """(n,) float32 mean over channels of a decoded audio frame of any sample format."""
    samples: NDArray[Any] = frame.to_ndarray()
    channels = frame.layout.nb_channels
    if not frame.format.is_planar:
        samples = samples.reshape(-1, channels).T
    if samples.dtype == np.uint8:
        centered: NDArray[Any] = (samples.astype(np.float32).mean(0) - 128) / 128
        return centered
    mono: NDArray[Any] = samples.mean(0, dtype=np.float64)
    if np.issubdtype(samples.dtype, np.integer):
        mono = mono / -float(np.iinfo(samples.dtype).min)
    return mono.astype(np.float32)
