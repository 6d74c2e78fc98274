"""Speech while the lips move: push frames, pull samples.

    frame, time -> OnlineFrameRateResampler     which 40 ms instants it shows            video/grid.py
                -> FaceTracker  where the face is                        video/tracking.py
                -> CausalCropper  the mouth, 96x96, without looking ahead  video/roi.py
                -> a speaker    crops to samples, some frames late       Chunks or Windows, below
                -> Meter        how sure the last second is              confidence.py
                -> Fader        silence where there was no face          fades.py

All state lies in the `Stream`, so one loaded model speaks for many at once. A causal model is run chunk by
chunk and says the very samples it would say of the whole clip in such chunks; any other is run on overlapping
windows that end some frames ahead of what is said, and is the later for it. Knows no webcam and no browser.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import perf_counter as clock
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from lip2speech.audio.crossfade import FADE_SAMPLES, PER_FRAME, GainEnvelope, LowConfidenceMode, fade_out
from lip2speech.audio.io import wav_writer
from lip2speech.confidence.tracker import FEATURES, NO_FACE, ConfidenceTracker, FrameConfidence, observe
from lip2speech.constants import SAMPLE_RATE, VIDEO_FPS
from lip2speech.pipeline import Lip2Speech
from lip2speech.video import CausalCropper, CropState, FaceTracker, NoFaceError, load_faces, read_frames
from lip2speech.video.face_report import MIN_FACE_SHARE
from lip2speech.video.frame_rate import MICRO, OnlineFrameRateResampler
from lip2speech.vocoders import Vocoder

LONG_GAP = 12  # instants (0.5 s) without a frame, after which nothing was seen: a pause
LONGEST_PAUSE = 1500  # instants (one minute); a longer one is not played
CHUNK = 4  # frames; the first of them waits 120 ms
KEPT_SECONDS = 3600  # whose confidence is remembered until it is pulled
WINDOW, HOP, AHEAD = 75, 5, 10  # frames: of a window, from window to window, seen beyond what is said


@dataclass(frozen=True)
class StreamConfig:
    """How much is heard at once, in video frames.

    chunk: of a causal model; window, hop, ahead: of any other.
    """

    chunk: int = CHUNK
    window: int = WINDOW
    hop: int = HOP
    ahead: int = AHEAD

    def __post_init__(self) -> None:
        if min(self.chunk, self.hop) < 1 or self.ahead < 0 or self.window < self.hop + self.ahead:
            raise ValueError(f"chunk and hop must be 1 or more, window at least hop + ahead, got {self}.")


@dataclass
class StreamStats:
    """What became of the frames so far.

    face_detected: whether the last one showed a face. confidence: the probability that a word is right, of the last
    second that was said; None before anything was said, and for a model that was never calibrated.
    """

    frames: int = 0
    dropped_frames: int = 0
    output_frames: int = 0
    no_face_frames: int = 0
    face_detected: bool = False
    confidence: float | None = None


class AudioChunk(NamedTuple):
    """Samples (n,) that are settled by now, and what `confidence.observe` sees in the frames they come from.

    A vocoder may keep the last samples of those frames to itself for a while.
    """

    wav: Tensor
    observed: Tensor


NOTHING = AudioChunk(torch.zeros(0), torch.zeros(0, len(FEATURES) + 1))


class ChunkSynthesizer(Protocol):
    """Crops in, samples out, in order and without a gap."""

    late: int
    """Samples by which what is said may lie behind the last crop, without the time it takes to compute."""

    def push(self, crop: np.ndarray) -> AudioChunk:
        """The next crop, (96, 96) uint8."""

    def finish(self) -> AudioChunk:
        """The rest."""


class Stream:
    """One person speaking live.

    Args:
        speech: a loaded system; streams may share it.
        voice, route: as `Lip2Speech.convert`.
        unsure: what becomes of an instant if the second that ends with it has a confidence below the model's
            threshold: it is spoken all the same, or a soft tone or silence takes its place.
        faces: the face networks; by default those of this thread, which are made ready here.
    """

    def __init__(
        self,
        speech: Lip2Speech,
        *,
        voice: Tensor | str | os.PathLike | None = None,
        route: str | None = None,
        config: StreamConfig | None = None,
        unsure: LowConfidenceMode = "speak",
        faces: Any = None,
    ):
        self.status = StreamStats()
        self.meter = ConfidenceTracker(KEPT_SECONDS)
        self._settings = speech.config
        self._grid = OnlineFrameRateResampler()
        self._faces = faces if faces is not None else ready_faces()
        self._cropper = CausalCropper()
        chosen = speech.speaker(voice), speech.check_route(route), config or StreamConfig()
        self._new_speaker = partial(make_speaker, speech, *chosen)
        self._fader = GainEnvelope(speech.config.check_unsure(unsure))
        self._seen: deque[bool] = deque()  # of the instants that are not said yet
        self._ready: deque[Tensor] = deque()
        self._done = False
        self._last: tuple[np.ndarray, bool] | None  # crop, whether it shows a face
        self.face_box: tuple[float, float, float, float] | None = None
        """Left, top, width, height of the face in the last frame, in pixels; None where there was none."""
        self._crops: CropState
        self._begin()

    @property
    def latency_s(self) -> float:
        """How far what is pulled may lie behind the last frame, without the time it takes to compute."""
        return self._speaker.late / SAMPLE_RATE

    @property
    def crop(self) -> np.ndarray | None:
        """What the model saw last: (96, 96) uint8."""
        return self._last[0] if self._last is not None else None

    def push(self, frame: np.ndarray, time: float) -> None:
        """The next frame (H, W, 3) uint8 RGB, shown at `time` seconds; one that comes too late is dropped.

        Raises:
            ValueError: not a picture, a time that is no number, or a stream that was finished.
        """
        if self._done:
            raise ValueError("the stream is finished; make a new one.")
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise ValueError(f"a frame must be (H, W, 3) uint8, got {frame.shape} {frame.dtype}.")
        if not np.isfinite(time):
            raise ValueError(f"a frame's time must be a number of seconds, got {time}.")
        self.status.frames += 1
        counts = self._grid.push(round(time * MICRO))
        if counts is None:
            self.status.dropped_frames += 1
            return
        before, now = counts
        if before > LONG_GAP:
            self._pause(before)
        elif self._last is not None:
            for _ in range(before):
                self._say(*self._last)
        tracked = self._tracker.step(frame)
        crop, self._crops = self._cropper.step(tracked, self._crops)
        self._last = crop, tracked.landmarks is not None
        self.status.face_detected = self._last[1]
        self.face_box = None if tracked.landmarks is None else rectangle(tracked.landmarks)
        for _ in range(now):
            self._say(*self._last)

    def pull(self) -> np.ndarray:
        """All samples that are ready, (n,) float32 in [-1, 1]; none is an ordinary answer."""
        pieces = [self._ready.popleft() for _ in range(len(self._ready))]
        return torch.cat(pieces).numpy() if pieces else np.zeros(0, np.float32)

    def pull_confidence(self) -> list[float]:
        """The confidence of each second said since the last call; a shorter last one comes with `finish`."""
        return [self.meter.seconds.popleft() for _ in range(len(self.meter.seconds))]

    def finish(self) -> None:
        """No frame comes any more: what was held back becomes ready."""
        if not self._done:
            self._done = True
            self._ready.append(self._hear(self._speaker.finish()))
            self.meter.finish()

    def _begin(self) -> None:
        """Nothing has been seen yet, or not for long."""
        self._tracker = FaceTracker(self._faces)
        self._crops = self._cropper.start()
        self._speaker = self._new_speaker()
        self._last = None

    def _pause(self, instants: int) -> None:
        """Silence while no frame came; what comes then is begun anew."""
        self._ready.append(fade_out(self._hear(self._speaker.finish())))
        played = min(instants, LONGEST_PAUSE)
        self._ready.append(torch.zeros(played * PER_FRAME))
        for _ in range(played):
            self._count(NO_FACE)
        self.status.output_frames += instants
        self.status.no_face_frames += instants
        self._fader.rest()
        self._begin()

    def _say(self, crop: np.ndarray, seen: bool) -> None:
        """One instant."""
        self.status.output_frames += 1
        self.status.no_face_frames += not seen
        self._seen.append(seen)
        self._ready.append(self._hear(self._speaker.push(crop)))

    def _hear(self, said: AudioChunk) -> Tensor:
        """What is let through of the next samples: (n,)."""
        calibration = self._settings.confidence
        for frame in calibration.frames(said.observed) if calibration else [NO_FACE] * len(said.observed):
            seen = self._seen.popleft()
            self._count(frame if seen else NO_FACE)
            confidence = self.status.confidence
            self._fader.add(seen, confidence is None or confidence >= self._settings.confidence_threshold)
        return self._fader(said.wav)

    def _count(self, frame: FrameConfidence) -> None:
        """One more instant is said."""
        if self._settings.confidence is not None:
            self.status.confidence = self.meter.add(frame)


def ready_faces() -> Any:
    """The face networks of this thread, built: the first ones of a process take seconds."""
    faces: Any = load_faces()
    faces.get_ready()
    return faces


def rectangle(points: np.ndarray) -> tuple[float, float, float, float]:
    """Left, top, width, height round points (L, 2)."""
    (left, top), (right, bottom) = points.min(0).tolist(), points.max(0).tolist()
    return left, top, right - left, bottom - top


def make_speaker(speech: Lip2Speech, voice: Tensor, route: str, config: StreamConfig) -> ChunkSynthesizer:
    """Chunks for a causal model, windows for any other."""
    if speech.model.config.frontend.causal and speech.model.config.heads.causal:
        return ChunkedSynthesizer(speech, voice, route, config.chunk)
    return SlidingWindowSynthesizer(speech, voice, route, config)


@dataclass(frozen=True)
class StreamingResult:
    """What it took to speak a video live, in seconds: of sound, late by design, computed in all, at worst.

    confidence, sure: as in `pipeline.Speech`.
    """

    status: StreamStats
    duration: float
    algorithmic_latency_s: float
    compute_s: float
    max_frame_compute_s: float
    confidence: tuple[float, ...] | None = None
    mean_confidence: float | None = None


def speak_live(
    speech: Lip2Speech,
    video: str | os.PathLike,
    out: str | os.PathLike,
    *,
    voice: Tensor | str | os.PathLike | None = None,
    route: str | None = None,
    config: StreamConfig | None = None,
    unsure: LowConfidenceMode = "speak",
    progress: Callable[[float], None] | None = None,
) -> StreamingResult:
    """A video file spoken into a wav file as if its frames came from a camera, as fast as they are read.

    Raises:
        MediaError: the file cannot be read. NoFaceError: fewer than half of the frames show a face.
        ValueError: unknown route or voice, or unsure speech cannot be told from other by this model.
    """
    stream = Stream(speech, voice=voice, route=route, config=config, unsure=unsure)
    times: list[float] = []
    sure: list[float] = []
    with read_frames(video) as frames, wav_writer(out, SAMPLE_RATE) as write:
        for count, frame in enumerate(frames):
            began = clock()
            stream.push(frame, count / VIDEO_FPS)
            wav = stream.pull()
            times.append(clock() - began)
            write(torch.from_numpy(wav))
            sure += stream.pull_confidence()
            if progress is not None and frames.expected_frames and count % VIDEO_FPS == 0:
                progress(min(1.0, count / frames.expected_frames))
        stream.finish()
        write(torch.from_numpy(stream.pull()))
        check_faces(stream.status, os.path.basename(os.fspath(video)))
    duration = stream.status.output_frames / VIDEO_FPS
    sure += stream.pull_confidence()
    seconds = None if speech.config.confidence is None else tuple(sure)
    return StreamingResult(
        stream.status, duration, stream.latency_s, sum(times), max(times), seconds, stream.meter.sure
    )


def check_faces(status: StreamStats, name: str) -> None:
    """NoFaceError when too few instants showed a face."""
    if status.no_face_frames > (1 - MIN_FACE_SHARE) * status.output_frames:
        raise NoFaceError(
            f"{name}: no face in {status.no_face_frames} of {status.output_frames} frames; "
            "crop closer or improve the light."
        )


class ChunkedSynthesizer:
    """A causal model, chunk by chunk: model and vocoder keep their state, nothing is computed twice."""

    def __init__(self, speech: Lip2Speech, voice: Tensor, route: str, chunk: int):
        self.speech, self.voice, self.chunk = speech, voice, chunk
        self.vocoder = cast(Vocoder, speech.vocoders[route])
        self.held: list[np.ndarray] = []
        self.state = self.tail = self.told = cast(Any, None)
        self.late = chunk * PER_FRAME + self.vocoder.late

    def push(self, crop: np.ndarray) -> AudioChunk:
        self.held.append(crop)
        return self.run() if len(self.held) == self.chunk else NOTHING

    def finish(self) -> AudioChunk:
        said = self.run() if self.held else NOTHING
        rest = self.vocoder.finish(self.tail) if self.tail is not None else torch.zeros(1, 1, 0)
        return AudioChunk(torch.cat([said.wav, rest[0, 0].float().cpu()]), said.observed)

    @torch.inference_mode()
    def run(self) -> AudioChunk:
        """The crops that are held, said."""
        roi = np.stack(self.held)
        video = self.speech.transform(roi).to(self.speech.device)
        prediction, self.state = self.speech.model.step(video, self.voice[None], self.state)
        wav, self.tail = self.vocoder.step(prediction, self.tail)
        bits, self.told = self.speech.bits(prediction, self.told)
        self.held.clear()
        return AudioChunk(wav[0, 0].float().cpu(), observe(prediction, roi, bits))


class SlidingWindowSynthesizer:
    """Any model, on windows of the last frames: of each, `hop` frames are said that have `ahead` after them.

        window n    |-------------------------|--hop--|---ahead---|
        window n+1          |-------------------------|--hop--|---ahead---|

    Neighbours are joined by 10 ms of both, at the beginning of what the later one says.
    """

    def __init__(self, speech: Lip2Speech, voice: Tensor, route: str, config: StreamConfig):
        self.speech, self.voice, self.route, self.config = speech, voice, route, config
        self.held: deque[np.ndarray] = deque(maxlen=config.window)
        self.seen = self.said = 0  # frames
        self.tail = torch.zeros(0)  # what the last window would have said next
        self.told: Any = None  # of the codes that were said, whichever window they came from
        self.late = (config.hop + config.ahead) * PER_FRAME

    def push(self, crop: np.ndarray) -> AudioChunk:
        self.held.append(crop)
        self.seen += 1
        due = self.seen - self.said >= self.config.hop + self.config.ahead
        return self.run(self.config.hop) if due else NOTHING

    def finish(self) -> AudioChunk:
        return self.run(self.seen - self.said) if self.seen > self.said else NOTHING

    @torch.inference_mode()
    def run(self, count: int) -> AudioChunk:
        """Say the next `count` frames."""
        roi, first = np.stack(self.held), self.said - (self.seen - len(self.held))
        prediction = self.speech.predict(roi, self.voice)
        wav, said = self.speech.render(prediction, self.route), prediction.cut(first, count, len(roi))
        bits, self.told = self.speech.bits(said, self.told)
        end = (first + count) * PER_FRAME
        now = wav[first * PER_FRAME : end].clone()
        if len(self.tail):
            size = min(FADE_SAMPLES, len(self.tail), len(now))
            now[:size] = torch.lerp(self.tail[:size], now[:size], torch.linspace(0, 1, size))
        self.tail = wav[end : end + FADE_SAMPLES]
        self.said += count
        return AudioChunk(now, observe(said, roi[first : first + count], bits))
