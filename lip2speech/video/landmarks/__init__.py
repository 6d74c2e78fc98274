"""Frames -> the points of one face in each.

`tracking.FaceTracker` decides where to look; the networks that look are a plug: those in mediapipe's wheel
(`landmarks_mediapipe`, the default) or a `.task` model given by path (`landmarks_task`). While the face
hardly moves, only every second frame is looked at:

    frames   t      t+1      t+2      t+3      t+4
    points   mesh   between  mesh     between  mesh

Between is the mean of both neighbours if these are closer than 4 % of the eyes' distance, else the mesh after
all. Knows pictures and points; knows nothing of mouths but where they are.
"""

import math
import os
from collections import deque
from collections.abc import Iterable

import numpy as np

from lip2speech.video.landmarks.geometry import eye_width, lip_centre
from lip2speech.video.landmarks.tracker import FaceModel, FaceTracker, Tracked

# Lips that move less over two frames, as a share of the eyes' distance (3 pixels of the crop), are not
# looked at in between. In 34 clips of 10 people 91 % of the frames pass; the point between is off by 0.26
# pixels of the crop on average, 1.4 in one frame of 100, 3.0 at most (a mouth open and shut in 80 ms).
STILL = 0.04


def track_faces(
    frames: Iterable[np.ndarray], faces: FaceModel | None = None, *, every_frame: bool = False
) -> "LandmarkReader":
    """Follow one face, the largest steady one, through frames (H, W, 3) uint8 RGB.

    The iterator that comes back carries `.report` of the frames it was given, if those have one.

    Args:
        frames: of one video, in order.
        faces: the networks; the default are those in mediapipe's wheel.
        every_frame: look at every frame, and never wait for the next one.
    """
    return LandmarkReader(frames, faces, every_frame=every_frame)


class LandmarkReader:
    """Iterator of `Tracked`; holds two frames at most."""

    def __init__(
        self, frames: Iterable[np.ndarray], faces: FaceModel | None = None, *, every_frame: bool = False
    ) -> None:
        self.report = getattr(frames, "report", None)
        self._frames = iter(frames)
        self._tracker = FaceTracker(faces if faces is not None else load_faces())
        self._every_frame = every_frame
        self._ready: deque[Tracked] = deque()
        self._last: Tracked | None = None
        self._still = False

    def __iter__(self) -> "LandmarkReader":
        return self

    def __next__(self) -> Tracked:
        if not self._ready:
            self._advance(next(self._frames))
        return self._ready.popleft()

    def _advance(self, frame: np.ndarray) -> None:
        """Make one or two frames ready."""
        last = self._last
        if last is not None and last.frame is frame:
            # A frame shown twice (12 fps sources) is looked at once.
            self._ready.append(Tracked(frame, last.landmarks))
            return
        cut = self._tracker.begins_scene(frame)
        later = next(self._frames, None) if self._still and not cut and not self._every_frame else None
        if later is None or last is None:
            self._look(frame, cut)
            return
        if later is frame:
            self._look(frame, False)
            self._ready.append(Tracked(frame, self._ready[-1].landmarks))
            return
        if self._tracker.begins_scene(later):
            self._look(frame, False)
            self._look(later, True)
            return
        after = self._tracker.look(later, False)
        self._ready.append(Tracked(frame, self._between(frame, last, after)))
        self._add(after)

    def _look(self, frame: np.ndarray, cut: bool) -> None:
        self._add(self._tracker.look(frame, cut))

    def _add(self, item: Tracked) -> None:
        self._still = not item.cut and self._last is not None and _is_still(self._last, item)
        self._last = item
        self._ready.append(item)

    def _between(self, frame: np.ndarray, before: Tracked, after: Tracked) -> np.ndarray | None:
        """Landmarks of the frame between two."""
        assert before.landmarks is not None, "only a face that was found is still"
        if not after.cut and after.landmarks is not None and _is_still(before, after):
            return (before.landmarks + after.landmarks) / 2
        return self._tracker.glance(frame, before.landmarks)


def load_faces(task: str | os.PathLike | None = None) -> FaceModel:
    """The networks: those in mediapipe's wheel, or a bundle (`face_landmarker.task`) by path."""
    if task is not None:
        from lip2speech.video.landmarks.tasks_api import TaskFaces

        return TaskFaces(task)
    from lip2speech.video.landmarks.mediapipe import thread_faces

    return thread_faces()


def _is_still(before: Tracked, after: Tracked) -> bool:
    """Whether both have a face whose lips hardly moved from one to the other."""
    if before.landmarks is None or after.landmarks is None:
        return False
    moved = math.dist(lip_centre(before.landmarks), lip_centre(after.landmarks))
    return moved < STILL * eye_width(after.landmarks)
