"""A video file synthesized as a live `Stream` would, with its latency and cost (`lip2speech stream`)."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import torch

from lip2speech.audio.io import audio_writer
from lip2speech.constants import SAMPLE_RATE, VIDEO_FPS
from lip2speech.pipeline import Lip2Speech, Progress
from lip2speech.streaming.renderers import StreamConfig
from lip2speech.streaming.stream import Stream, StreamStats
from lip2speech.synthesis import SynthesisOptions, bits_json, confidence_json
from lip2speech.video import read_frames
from lip2speech.video.missing_frames import MissingFrame


@dataclass(frozen=True)
class StreamingResult:
    """What it took to synthesize a video live.

    Attributes:
        stats: what became of the frames.
        duration: seconds of audio.
        algorithmic_latency_s: how far the audio lies behind the video, computing time not included.
        compute_s, max_frame_compute_s: in all, and at most for a frame.
        confidence, mean_confidence, bits_per_code: as in `SynthesisResult`.
        frames_damaged, frames_missing: of the file, see `FaceReport`.
    """

    stats: StreamStats
    duration: float
    algorithmic_latency_s: float
    compute_s: float
    max_frame_compute_s: float
    confidence: tuple[float, ...] | None = None
    mean_confidence: float | None = None
    bits_per_code: float | None = None
    frames_damaged: int = 0
    frames_missing: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain rounded values."""
        stats = asdict(self.stats)
        del stats["confidence"]  # of the last second; it stands in `confidence`
        times = ("duration", "algorithmic_latency_s", "compute_s", "max_frame_compute_s")
        counts = {"frames_damaged": self.frames_damaged, "frames_missing": self.frames_missing}
        values = stats | counts | {name: round(getattr(self, name), 3) for name in times}
        values |= confidence_json(self.confidence, self.mean_confidence)
        return values | bits_json(self.bits_per_code)


def stream_file(
    model: Lip2Speech,
    video: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: SynthesisOptions = SynthesisOptions(),
    config: StreamConfig = StreamConfig(),
    progress: Progress | None = None,
) -> StreamingResult:
    """Synthesize a video file as if its frames came from a camera, as fast as they can be read, into an
    audio file; its suffix, one of `AUDIO_SUFFIXES`, decides the format.

    Raises:
        MediaError: the video cannot be read.
        NoFaceError: a face in fewer than half of its frames.
        ValueError: as `Lip2Speech.convert`.
    """
    stream = Stream(model, options, config)
    times: list[float] = []
    confidence: list[float] = []
    with read_frames(video) as frames, audio_writer(out, SAMPLE_RATE) as write:
        for count, frame in enumerate(frames):
            if isinstance(frame, MissingFrame):  # no camera sends one; the stream pauses
                continue
            started = perf_counter()
            stream.push(frame, count / VIDEO_FPS)
            samples = stream.pull()
            times.append(perf_counter() - started)
            write(torch.from_numpy(samples))
            confidence += stream.pull_confidence()
            if progress is not None and frames.expected_frames and count % VIDEO_FPS == 0:
                progress(min(1.0, count / frames.expected_frames))
        stream.finish()
        write(torch.from_numpy(stream.pull()))
        stream.report.name = frames.report.name
        stream.report.require_faces()
    confidence += stream.pull_confidence()
    return StreamingResult(
        stats=stream.stats,
        duration=stream.stats.output_frames / VIDEO_FPS,
        algorithmic_latency_s=stream.latency_s,
        compute_s=sum(times),
        max_frame_compute_s=max(times),
        frames_damaged=frames.report.corrupt,
        frames_missing=frames.report.missing,
        confidence=None if model.config.confidence is None else tuple(confidence),
        mean_confidence=stream.mean_confidence,
        bits_per_code=stream.bits_per_code,
    )
