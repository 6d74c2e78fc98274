"""Frames -> the points of one face in each.

`tracking.FaceTracker` decides where to look; the networks that look are a plug: those in mediapipe's wheel
(`landmarks_mediapipe`, the default) or a `.task` model given by path (`landmarks_task`). Knows pictures
and points; knows nothing of mouths.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lip2speech.video.tracking import Faces, FaceTracker


@dataclass(frozen=True)
class Tracked:
    """One frame and what was found in it.

    Attributes:
        frame: (H, W, 3) uint8 RGB.
        landmarks: (468, 2) float32 pixels, (0, 0) the centre of the first pixel; None if no face was found.
        cut: the scene or the followed face changed just before this frame; nothing may be smoothed across.
    """

    frame: np.ndarray
    landmarks: np.ndarray | None
    cut: bool = False


def detect_landmarks(frames: Iterable[np.ndarray], faces: Faces | None = None) -> "LandmarkReader":
    """Follow one face, the largest steady one, through frames (H, W, 3) uint8 RGB.

    The iterator that comes back carries `.report` of the frames it was given, if those have one. Building the
    networks takes 40 ms, so who has many short clips passes the same `faces` (see `load_faces`) to each.
    """
    return LandmarkReader(frames, faces)


class LandmarkReader:
    """Iterator of `Tracked`; holds one frame at a time."""

    def __init__(self, frames: Iterable[np.ndarray], faces: Faces | None = None) -> None:
        self.report = getattr(frames, "report", None)
        self._frames = iter(frames)
        self._tracker = FaceTracker(faces if faces is not None else load_faces())
        self._last: Tracked | None = None

    def __iter__(self) -> "LandmarkReader":
        return self

    def __next__(self) -> Tracked:
        frame = next(self._frames)
        if self._last is not None and self._last.frame is frame:
            # A frame shown twice (12 fps sources) is looked at once.
            return Tracked(frame, self._last.landmarks)
        landmarks, cut = self._tracker.step(frame)
        self._last = Tracked(frame, landmarks, cut)
        return self._last


def load_faces(task: str | os.PathLike | None = None) -> Faces:
    """The networks: those in mediapipe's wheel, or a bundle (`face_landmarker.task`) by path."""
    if task is not None:
        from lip2speech.video.landmarks_task import TaskFaces

        return TaskFaces(task)
    from lip2speech.video.landmarks_mediapipe import thread_faces

    return thread_faces()
