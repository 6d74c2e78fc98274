"""One person's live stream.

    frame, time -> OnlineFrameRateResampler   which 40 ms video frames it stands for   video/frame_rate.py
                -> FaceTracker                where the face is                        video/landmarks/
                -> CausalCropper              the mouth, 96x96, without look-ahead     video/crop.py
                -> WindowBuffer               the frames to be rendered now            windows.py
                -> a renderer                 Prediction and audio                     renderers.py
                -> PostProcessor              mute and replace, as for files           synthesis.py

All state belongs to the `Stream`, so one loaded model serves many. Causal models run chunk by chunk and are
bit-identical to offline chunked inference; other models run on sliding windows with look-ahead, at higher
latency. Independent of any capture device or user interface.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lip2speech.constants import SAMPLE_RATE
from lip2speech.pipeline import Lip2Speech
from lip2speech.streaming.renderers import StreamConfig, make_renderer
from lip2speech.synthesis import SynthesisOptions
from lip2speech.video import (
    CausalCropper,
    CropState,
    FaceModel,
    FaceReport,
    FaceTracker,
    MouthCrop,
    load_face_model,
)
from lip2speech.video.face_report import CropSource
from lip2speech.video.frame_rate import MICROSECONDS, OnlineFrameRateResampler
from lip2speech.windows import RenderedFrames

MAX_HOLD_FRAMES = 12  # video frames (0.5 s) without a camera frame after which the stream pauses
MAX_PAUSE_FRAMES = 1500  # one minute; a longer pause is cut to it
CONFIDENCE_HISTORY_S = 3600


@dataclass
class StreamStats:
    """What became of the frames so far.

    Attributes:
        frames: camera frames pushed; dropped_frames: those that came too late.
        output_frames: video frames of 40 ms; no_face_frames: those without a face.
        face_detected: in the last camera frame.
        confidence: of the last second of speech; None before there is any, and without a calibration.
    """

    frames: int = 0
    dropped_frames: int = 0
    output_frames: int = 0
    no_face_frames: int = 0
    face_detected: bool = False
    confidence: float | None = None


class Stream:
    """One person's live speech.

    Args:
        model: may serve many streams.
        options: as for `Lip2Speech.convert`.
        config: how much the model sees at once.
        face_model: by default this thread's, loaded here: the first one of a process takes seconds.
    """

    def __init__(
        self,
        model: Lip2Speech,
        options: SynthesisOptions = SynthesisOptions(),
        config: StreamConfig = StreamConfig(),
        face_model: FaceModel | None = None,
    ):
        self.stats = StreamStats()
        self.report = FaceReport()
        self.face_box: tuple[float, float, float, float] | None = None
        """Left, top, width, height of the face in the last frame, in pixels; None where there was none."""
        self._model, self._config = model, config
        self._speaker = model.speaker_embedding(options.voice)
        self._vocoder = model.resolve_vocoder(options.vocoder)
        self._post_process = model.config.post_processor(options.low_confidence, CONFIDENCE_HISTORY_S)
        self._frame_rate = OnlineFrameRateResampler()
        self._face_model = face_model if face_model is not None else load_face_model(warm_up=True)
        self._cropper = CausalCropper()
        self._ready: deque[Tensor] = deque()
        self._finished = False
        self._bits, self._bits_frames = 0.0, 0
        self._last: MouthCrop | None
        self._crop_state: CropState
        self._reset()

    @property
    def latency_s(self) -> float:
        """How far the audio may lie behind the last frame, computing time not included."""
        return self._renderer.latency / SAMPLE_RATE

    @property
    def crop(self) -> NDArray[np.uint8] | None:
        """The last input of the model: (96, 96) uint8."""
        return None if self._last is None else self._last.pixels

    @property
    def mean_confidence(self) -> float | None:
        """Of all speech so far; None without a calibration."""
        tracker = self._post_process.tracker
        return None if tracker is None else tracker.mean

    @property
    def bits_per_code(self) -> float | None:
        """Mean bits of the codes so far under the code prior; None without one."""
        return self._bits / self._bits_frames if self._bits_frames else None

    def push(self, frame: NDArray[np.uint8], time: float) -> None:
        """The next frame (H, W, 3) uint8 RGB, shown at `time` seconds; one that comes too late is dropped.

        Raises:
            ValueError: not an image, a time that is not finite, or the stream is finished.
        """
        self._check_frame(frame, time)
        self.stats.frames += 1
        counts = self._frame_rate.push(round(time * MICROSECONDS))
        if counts is None:
            self.stats.dropped_frames += 1
            return
        before, now = counts
        if before > MAX_HOLD_FRAMES:
            self._pause(before)
        elif self._last is not None:
            self._process(self._last, before)
        self._last = self._crop(frame)
        self._process(self._last, now)

    def pull(self) -> NDArray[np.float32]:
        """All samples that are ready, (n,) float32 in [-1, 1]; often none."""
        pieces = [self._ready.popleft() for _ in range(len(self._ready))]
        return torch.cat(pieces).numpy() if pieces else np.zeros(0, np.float32)

    def pull_confidence(self) -> list[float]:
        """The confidence of each second completed since the last call; `finish` adds a shorter last one."""
        if (tracker := self._post_process.tracker) is None:
            return []
        return [tracker.seconds.popleft() for _ in range(len(tracker.seconds))]

    def finish(self) -> None:
        """No more frames: what was buffered becomes ready."""
        if not self._finished:
            self._finished = True
            for frames in self._drain():
                self._emit(frames)
            if (tracker := self._post_process.tracker) is not None:
                tracker.finish()

    def _reset(self) -> None:
        """Start, or start again after a pause."""
        self._tracker = FaceTracker(self._face_model)
        self._crop_state = self._cropper.start()
        self._buffer, self._renderer = make_renderer(self._model, self._speaker, self._vocoder, self._config)
        self._last = None

    def _check_frame(self, frame: NDArray[np.uint8], time: float) -> None:
        if self._finished:
            raise ValueError("the stream is finished; make a new one.")
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise ValueError(f"a frame must be (H, W, 3) uint8, got {frame.shape} {frame.dtype}.")
        if not np.isfinite(time):
            raise ValueError(f"a frame's time must be a finite number of seconds, got {time}.")

    def _crop(self, frame: NDArray[np.uint8]) -> MouthCrop:
        tracked = self._tracker.step(frame)
        pixels, self._crop_state = self._cropper.step(tracked, self._crop_state)
        self.stats.face_detected = tracked.landmarks is not None
        self.face_box = None if tracked.landmarks is None else bounding_box(tracked.landmarks)
        return MouthCrop(pixels, "held" if tracked.landmarks is None else "detected")

    def _process(self, crop: MouthCrop, count: int) -> None:
        """The same crop for `count` video frames."""
        for _ in range(count):
            self._count(crop.source)
            if (window := self._buffer.push(crop)) is not None:
                self._emit(self._renderer(window))

    def _emit(self, frames: RenderedFrames) -> None:
        chunk = self._post_process(frames)
        self._ready.append(chunk.wav)
        known = chunk.code_bits[~chunk.code_bits.isnan()]
        self._bits, self._bits_frames = self._bits + float(known.sum()), self._bits_frames + len(known)
        self.stats.confidence = self._post_process.confidence

    def _drain(self) -> Iterator[RenderedFrames]:
        if (window := self._buffer.finish()) is not None:
            yield self._renderer(window)
        yield self._renderer.finish()

    def _pause(self, n_frames: int) -> None:
        """Silence while no camera frame came; then start again."""
        *before, last = self._drain()
        for frames in before:
            self._emit(frames)
        self._ready.append(self._post_process.pause(last, min(n_frames, MAX_PAUSE_FRAMES)))
        self.stats.confidence = self._post_process.confidence
        self._count("blank", n_frames)
        self._reset()

    def _count(self, source: CropSource, n_frames: int = 1) -> None:
        self.report.add(source, n_frames=n_frames)
        self.stats.output_frames = self.report.frames
        self.stats.no_face_frames = self.report.no_face_frames


def bounding_box(points: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Left, top, width, height of points (L, 2)."""
    (left, top), (right, bottom) = points.min(0).tolist(), points.max(0).tolist()
    return left, top, right - left, bottom - top
