"""What goes into and comes out of synthesis: options, chunks of audio, the result; and the one
post-processor."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor

from lip2speech.audio.crossfade import GainEnvelope, LowConfidenceMode, fade_out
from lip2speech.confidence.calibration import NO_FACE, Calibration, FrameScore
from lip2speech.confidence.tracker import ConfidenceTracker
from lip2speech.constants import SAMPLE_RATE, SAMPLES_PER_FRAME, VIDEO_FPS
from lip2speech.video import FaceReport
from lip2speech.windows import RenderedFrames


@dataclass(frozen=True)
class SynthesisOptions:
    """How a video becomes speech.

    Attributes:
        voice: name of an enrolled or stored voice, a recording whose voice to use, or a speaker embedding:
            (S,) in memory or FILE.npy. None: the model's default voice.
        vocoder: one of `Lip2Speech.vocoder_names`; None: the model's default.
        low_confidence: what becomes of low-confidence speech: keep it, a soft tone, or mute. A video frame
            counts as low if the second that ends with it is below the model's threshold.
    """

    voice: Tensor | str | os.PathLike[str] | None = None
    vocoder: str | None = None
    low_confidence: LowConfidenceMode = "keep"

    def __post_init__(self) -> None:
        if self.low_confidence not in get_args(LowConfidenceMode):
            known = ", ".join(get_args(LowConfidenceMode))
            raise ValueError(f"low_confidence must be one of {known}, got {self.low_confidence!r}.")


class AudioChunk(NamedTuple):
    """Final audio of consecutive video frames.

    Attributes:
        wav: (n,) float32 in [-1, 1]; 640 samples a frame, fewer or more where a live vocoder is behind.
        scores: T frame scores, NaN without a detected face.
        code_bits: (T,) mean bits of each frame's codes under the code prior, NaN without one.
        face_mask: (T,) bool, whether the mouth is visible in each frame.
        report: what was found in the video so far; complete with the last chunk. None for live streams.
    """

    wav: Tensor
    scores: list[FrameScore]
    code_bits: Tensor
    face_mask: Tensor
    report: FaceReport | None = None


class PostProcessor:
    """The one place where speech is muted or replaced, for files, live streams, evaluation and the web demo.

    Args:
        calibration: of the model; None: it has no confidence, and nothing is replaced.
        threshold: confidence below which a second counts as low.
        low_confidence: what replaces it.
        history_s: as in `ConfidenceTracker`.
    """

    def __init__(
        self,
        calibration: Calibration | None,
        threshold: float,
        low_confidence: LowConfidenceMode = "keep",
        history_s: int | None = None,
    ) -> None:
        self.threshold = threshold
        self._calibration = calibration
        self.tracker = None if calibration is None else ConfidenceTracker(history_s)
        self.confidence: float | None = None
        """Of the second that ends with the last frame."""
        self._envelope = GainEnvelope(low_confidence)

    def __call__(self, frames: RenderedFrames, report: FaceReport | None = None) -> AudioChunk:
        """Mute frames without a visible mouth and replace low-confidence ones."""
        scores = self._scores(frames)
        for score, visible in zip(scores, frames.visible.tolist(), strict=True):
            self._track(score)
            self._envelope.add(visible, self.confidence is None or self.confidence >= self.threshold)
        wav = self._envelope(frames.wav)
        return AudioChunk(wav, scores, frames.features.code_bits, frames.visible, report)

    def pause(self, frames: RenderedFrames, n_frames: int) -> Tensor:
        """The last frames before a pause, faded out, and `n_frames` of silence; what follows fades in."""
        wav = fade_out(self(frames).wav)
        for _ in range(n_frames):
            self._track(NO_FACE)
        self._envelope.reset()
        return torch.cat([wav, torch.zeros(n_frames * SAMPLES_PER_FRAME)])

    def _scores(self, frames: RenderedFrames) -> list[FrameScore]:
        if self._calibration is None:
            return [NO_FACE] * len(frames.detected)
        scores = self._calibration(frames.features.values)
        return [s if d else NO_FACE for s, d in zip(scores, frames.detected.tolist(), strict=True)]

    def _track(self, score: FrameScore) -> None:
        if self.tracker is not None:
            self.confidence = self.tracker.add(score)


@dataclass(frozen=True)
class SynthesisResult:
    """Speech for one video.

    Attributes:
        wav: (T_a,) float32 in [-1, 1]; None if it was written straight to a file.
        report: faces found, and what the reader met.
        model, vocoder: their names.
        elapsed_s: how long synthesis took.
        confidence: probability that a word is right, for each second and a shorter last one; a frame without
            a face counts as 0. None for a model without a calibration, as is mean_confidence.
        mean_confidence: its speech-weighted mean.
        bits_per_code: mean bits of the predicted codes under the code prior; None without one.
    """

    wav: Tensor | None
    report: FaceReport
    model: str
    vocoder: str
    elapsed_s: float
    confidence: tuple[float, ...] | None = None
    mean_confidence: float | None = None
    bits_per_code: float | None = None
    sample_rate: int = SAMPLE_RATE

    @property
    def duration(self) -> float:
        """Seconds of video that were synthesized."""
        return self.report.frames / VIDEO_FPS

    def to_json(self) -> dict[str, Any]:
        """Plain rounded values, the same for the command line and the web demo."""
        values = {
            "duration": round(self.duration, 3),
            "frames": self.report.frames,
            "face_detection_rate": round(self.report.face_detection_rate, 4),
            "no_face_segments": [list(segment) for segment in self.report.no_face_segments],
            "frames_damaged": self.report.frames_damaged,
            "frames_missing": self.report.frames_missing,
            "model": self.model,
            "vocoder": self.vocoder,
            "rtf": round(self.elapsed_s / max(self.duration, 1e-9), 3),
        } | confidence_json(self.confidence, self.mean_confidence)
        return values | bits_json(self.bits_per_code)


def bits_json(bits_per_code: float | None) -> dict[str, float]:
    """As JSON carries it: rounded; nothing for a model without a code prior."""
    return {} if bits_per_code is None else {"bits_per_code": round(bits_per_code, 3)}


def confidence_json(confidence: Iterable[float] | None, mean: float | None) -> dict[str, Any]:
    """Both as JSON carries them: rounded; null for a model without a calibration."""
    if confidence is None or mean is None:
        return {"confidence": None, "mean_confidence": None}
    return {"confidence": [round(c, 3) for c in confidence], "mean_confidence": round(mean, 3)}


class ScoreSummary:
    """Adds up the confidence and the code bits of a video, chunk by chunk.

    Args:
        calibrated: whether the model has a calibration.
    """

    def __init__(self, calibrated: bool) -> None:
        self._tracker = ConfidenceTracker() if calibrated else None
        self._bits, self._frames = 0.0, 0

    def add(self, chunk: AudioChunk) -> None:
        """The next chunk."""
        if self._tracker is not None:
            for score in chunk.scores:
                self._tracker.add(score)
        known = chunk.code_bits[~chunk.code_bits.isnan()]
        self._bits, self._frames = self._bits + float(known.sum()), self._frames + len(known)

    def finish(self) -> dict[str, Any]:
        """Fields of `SynthesisResult`."""
        bits = self._bits / self._frames if self._frames else None
        if self._tracker is None:
            return {"bits_per_code": bits}
        self._tracker.finish()
        return {
            "confidence": tuple(self._tracker.seconds),
            "mean_confidence": self._tracker.mean,
            "bits_per_code": bits,
        }
