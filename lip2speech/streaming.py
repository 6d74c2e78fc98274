"""Speech while the lips move: push frames, pull samples.

    frame, time -> LiveGrid     which 40 ms instants it shows            video/grid.py
                -> FaceTracker  where the face is                        video/tracking.py
                -> CausalCropper  the mouth, 96x96, without looking ahead  video/roi.py
                -> a speaker    crops to samples, some frames late       Chunks or Windows, below
                -> Fader        silence where there was no face

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
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from lip2speech.audio import wav_writer
from lip2speech.pipeline import Lip2Speech
from lip2speech.rates import SAMPLE_RATE, VIDEO_FPS, per_video_frame
from lip2speech.video import CausalCropper, CropState, FaceTracker, NoFaceError, load_faces, read_frames
from lip2speech.video.grid import MICRO, LiveGrid
from lip2speech.video.report import MIN_FACE_SHARE
from lip2speech.vocoder import Vocoder

PER_FRAME = per_video_frame(SAMPLE_RATE)
FADE_SAMPLES = 160  # 10 ms, into silence and out of it
LONG_GAP = 12  # instants (0.5 s) without a frame, after which nothing was seen: a pause
LONGEST_PAUSE = 1500  # instants (one minute); a longer one is not played
CHUNK = 4  # frames; the first of them waits 120 ms
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
class Status:
    """What became of the frames so far. face: whether the last one showed a face."""

    frames: int = 0
    late: int = 0
    instants: int = 0
    blind: int = 0
    face: bool = False


class Speaker(Protocol):
    """Crops in, samples out, in order and without a gap."""

    late: int
    """Samples by which what is said may lie behind the last crop, without the time it takes to compute."""

    def push(self, crop: np.ndarray) -> Tensor:
        """The next crop (96, 96) uint8 -> the samples (n,) that are settled by now."""

    def finish(self) -> Tensor:
        """The rest: (n,)."""


class Stream:
    """One person speaking live.

    Args:
        speech: a loaded system; streams may share it.
        voice, route: as `Lip2Speech.convert`.
        faces: the face networks; by default those of this thread.
    """

    def __init__(
        self,
        speech: Lip2Speech,
        *,
        voice: Tensor | str | os.PathLike | None = None,
        route: str | None = None,
        config: StreamConfig | None = None,
        faces: Any = None,
    ):
        self.status = Status()
        self._grid = LiveGrid()
        self._faces = faces if faces is not None else load_faces()
        self._cropper = CausalCropper()
        chosen = speech.speaker(voice), speech.check_route(route), config or StreamConfig()
        self._new_speaker = partial(make_speaker, speech, *chosen)
        self._fader = Fader()
        self._ready: deque[Tensor] = deque()
        self._done = False
        self._last: tuple[np.ndarray, bool] | None  # crop, whether it shows a face
        self._crops: CropState
        self._begin()

    @property
    def latency_s(self) -> float:
        """How far what is pulled may lie behind the last frame, without the time it takes to compute."""
        return self._speaker.late / SAMPLE_RATE

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
            self.status.late += 1
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
        self.status.face = self._last[1]
        for _ in range(now):
            self._say(*self._last)

    def pull(self) -> np.ndarray:
        """All samples that are ready, (n,) float32 in [-1, 1]; none is an ordinary answer."""
        pieces = [self._ready.popleft() for _ in range(len(self._ready))]
        return torch.cat(pieces).numpy() if pieces else np.zeros(0, np.float32)

    def finish(self) -> None:
        """No frame comes any more: what was held back becomes ready."""
        if not self._done:
            self._done = True
            self._ready.append(self._fader(self._speaker.finish()))

    def _begin(self) -> None:
        """Nothing has been seen yet, or not for long."""
        self._tracker = FaceTracker(self._faces)
        self._crops = self._cropper.start()
        self._speaker = self._new_speaker()
        self._last = None

    def _pause(self, instants: int) -> None:
        """Silence while no frame came; what comes then is begun anew."""
        self._ready.append(fade_out(self._fader(self._speaker.finish())))
        self._ready.append(torch.zeros(min(instants, LONGEST_PAUSE) * PER_FRAME))
        self.status.instants += instants
        self.status.blind += instants
        self._fader.level = 0.0
        self._begin()

    def _say(self, crop: np.ndarray, seen: bool) -> None:
        """One instant."""
        self.status.instants += 1
        self.status.blind += not seen
        self._fader.add(seen)
        self._ready.append(self._fader(self._speaker.push(crop)))


def make_speaker(speech: Lip2Speech, voice: Tensor, route: str, config: StreamConfig) -> Speaker:
    """Chunks for a causal model, windows for any other."""
    if speech.model.config.frontend.causal and speech.model.config.heads.causal:
        return Chunks(speech, voice, route, config.chunk)
    return Windows(speech, voice, route, config)


@dataclass(frozen=True)
class Spoken:
    """What it took to speak a video live, in seconds: of sound, late by design, computed in all, at worst."""

    status: Status
    duration: float
    latency: float
    computed: float
    worst: float


def speak_live(
    speech: Lip2Speech,
    video: str | os.PathLike,
    out: str | os.PathLike,
    *,
    voice: Tensor | str | os.PathLike | None = None,
    route: str | None = None,
    config: StreamConfig | None = None,
    progress: Callable[[float], None] | None = None,
) -> Spoken:
    """A video file spoken into a wav file as if its frames came from a camera, as fast as they are read.

    Raises:
        MediaError: the file cannot be read. NoFaceError: fewer than half of the frames show a face.
        ValueError: unknown route or voice.
    """
    stream = Stream(speech, voice=voice, route=route, config=config)
    times: list[float] = []
    with read_frames(video) as frames, wav_writer(out, SAMPLE_RATE) as write:
        for count, frame in enumerate(frames):
            began = clock()
            stream.push(frame, count / VIDEO_FPS)
            wav = stream.pull()
            times.append(clock() - began)
            write(torch.from_numpy(wav))
            if progress is not None and frames.expected_frames and count % VIDEO_FPS == 0:
                progress(min(1.0, count / frames.expected_frames))
        stream.finish()
        write(torch.from_numpy(stream.pull()))
        check_faces(stream.status, os.path.basename(os.fspath(video)))
    duration = stream.status.instants / VIDEO_FPS
    return Spoken(stream.status, duration, stream.latency_s, sum(times), max(times))


def check_faces(status: Status, name: str) -> None:
    """NoFaceError when too few instants showed a face."""
    if status.blind > (1 - MIN_FACE_SHARE) * status.instants:
        raise NoFaceError(
            f"{name}: no face in {status.blind} of {status.instants} frames; "
            "crop closer or improve the light."
        )


class Chunks:
    """A causal model, chunk by chunk: model and vocoder keep their state, nothing is computed twice."""

    def __init__(self, speech: Lip2Speech, voice: Tensor, route: str, chunk: int):
        self.speech, self.voice, self.chunk = speech, voice, chunk
        self.vocoder = cast(Vocoder, speech.vocoders[route])
        self.held: list[np.ndarray] = []
        self.state: Any = None
        self.tail: Any = None
        self.late = chunk * PER_FRAME + self.vocoder.late

    def push(self, crop: np.ndarray) -> Tensor:
        self.held.append(crop)
        return self.run() if len(self.held) == self.chunk else torch.zeros(0)

    def finish(self) -> Tensor:
        said = self.run() if self.held else torch.zeros(0)
        rest = self.vocoder.finish(self.tail) if self.tail is not None else torch.zeros(1, 1, 0)
        return torch.cat([said, rest[0, 0].float().cpu()])

    @torch.inference_mode()
    def run(self) -> Tensor:
        """The crops that are held -> samples (n,)."""
        video = self.speech.transform(np.stack(self.held)).to(self.speech.device)
        self.held.clear()
        prediction, self.state = self.speech.model.step(video, self.voice[None], self.state)
        wav, self.tail = self.vocoder.step(prediction, self.tail)
        return wav[0, 0].float().cpu()


class Windows:
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
        self.late = (config.hop + config.ahead) * PER_FRAME

    def push(self, crop: np.ndarray) -> Tensor:
        self.held.append(crop)
        self.seen += 1
        due = self.seen - self.said >= self.config.hop + self.config.ahead
        return self.run(self.config.hop) if due else torch.zeros(0)

    def finish(self) -> Tensor:
        return self.run(self.seen - self.said) if self.seen > self.said else torch.zeros(0)

    @torch.inference_mode()
    def run(self, count: int) -> Tensor:
        """Say the next `count` frames: (640 count,)."""
        wav = self.speech(np.stack(self.held), self.voice, self.route)
        first = (self.said - (self.seen - len(self.held))) * PER_FRAME
        end = first + count * PER_FRAME
        now = wav[first:end].clone()
        if len(self.tail):
            size = min(FADE_SAMPLES, len(self.tail), len(now))
            now[:size] = torch.lerp(self.tail[:size], now[:size], torch.linspace(0, 1, size))
        self.tail = wav[end : end + FADE_SAMPLES]
        self.said += count
        return now


class Fader:
    """Silence for the instants that showed no face, with 10 ms fades that never click."""

    def __init__(self) -> None:
        self.flags: deque[bool] = deque()
        self.place = 0  # samples of the first flag's instant that are already said
        self.level = 1.0

    def add(self, seen: bool) -> None:
        """One more instant."""
        self.flags.append(seen)

    def __call__(self, wav: Tensor) -> Tensor:
        """The next samples (n,), faded."""
        parts = []
        while len(wav):
            assert self.flags, "a speaker says no more than it was shown"
            count = min(len(wav), PER_FRAME - self.place)
            parts.append(wav[:count] * self.ramp(count, float(self.flags[0])))
            wav, self.place = wav[count:], self.place + count
            if self.place == PER_FRAME:
                self.flags.popleft()
                self.place = 0
        return torch.cat(parts) if parts else torch.zeros(0)

    def ramp(self, count: int, goal: float) -> Tensor:
        """Gains (count,) from the level now towards `goal`, at most 1 / FADE_SAMPLES a sample."""
        steps = torch.arange(1, count + 1) / FADE_SAMPLES
        gains = (
            (self.level + steps).clamp_max(goal)
            if goal > self.level
            else (self.level - steps).clamp_min(goal)
        )
        self.level = float(gains[-1])
        return gains


def fade_out(wav: Tensor) -> Tensor:
    """(n,) whose last 10 ms fall to silence."""
    size = min(FADE_SAMPLES, len(wav))
    return torch.cat([wav[: len(wav) - size], wav[len(wav) - size :] * torch.linspace(1, 0, size)])
