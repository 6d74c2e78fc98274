"""One face tracked through time: kept, lost, found again.

    every frame     landmark network in the box of the last frame; again in the new box if the face moved fast
    after a loss    detector -> boxes -> landmarks, at growing intervals: a video without faces costs little
    now and then    detector, in case a larger face has appeared: the largest steady face is the one to track

Independent of the networks, which are behind `FaceModel`.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lip2speech.video.landmarks.face_model import FaceModel
from lip2speech.video.landmarks.geometry import FaceBox, is_plausible_face

TRACK_THROUGH_FRAMES = 5  # frames after a loss in which the last box is still tried
RETRY_AT = (0, 1, 3)  # frames after a loss at which the detector runs; then every RETRY_INTERVAL
RETRY_INTERVAL = 5  # 0.2 s, short enough for interpolation (0.5 s)
REDETECT_INTERVAL = 25  # tracked frames between checks for a larger face: 1 to 2 s
CONFIRM_INTERVAL = 5  # tracked frames after which a larger face must still be there: 0.2 to 0.4 s
MIN_SIZE_RATIO = 1.25  # of a face that takes over, so that two faces of similar size do not alternate
FORGET_AFTER_FRAMES = 25  # frames without the tracked face after which another one may take over
SAME_FACE = 0.6  # boxes whose centers are closer than this fraction of their size show the same face
DRIFT = 0.05  # added to SAME_FACE for every frame without a detection
MAX_SHIFT = 0.35  # movement of a face from frame to frame, as a fraction of its box
MAX_CALM_SHIFT = 0.05  # of the box; the network is less exact away from the center, so it looks again
MAX_PASSES = 4  # of the network on a face that moved fast, each in the box of the one before
MAX_CANDIDATES = 4  # detected faces for which landmarks are computed


@dataclass(frozen=True)
class TrackedFrame:
    """One frame and the landmarks of the tracked face.

    Attributes:
        frame: (H, W, 3) uint8 RGB.
        landmarks: (468, 2) float32 pixels, (0, 0) the center of the first pixel; None if no face was found.
        cut: the scene or the tracked face changed just before this frame; nothing may be smoothed across.
    """

    frame: NDArray[Any]
    landmarks: NDArray[Any] | None
    cut: bool = False


class FaceTracker:
    """Tracks one face through one video: call `step` for each frame in order, or its two halves.

    The halves, `starts_scene` and `detect_and_track`, let a caller skip frames.
    """

    def __init__(self, face_model: FaceModel) -> None:
        self._landmarks = face_model.landmarks
        self._detect = face_model.detect
        self._scene_cuts = SceneCutDetector()
        self._box: FaceBox | None = None  # of the last detection
        self._n_missed = 0  # frames since then
        self._until_redetect = REDETECT_INTERVAL
        self._rival: FaceBox | None = None

    def step(self, frame: NDArray[Any]) -> TrackedFrame:
        """The next frame, (H, W, 3) uint8."""
        return self.detect_and_track(frame, self.starts_scene(frame))

    def starts_scene(self, frame: NDArray[Any]) -> bool:
        """Whether there is a cut before this frame; call it once for every frame, in order."""
        return self._scene_cuts.step(frame)

    def detect_and_track(self, frame: NDArray[Any], cut: bool) -> TrackedFrame:
        """Find the tracked face in a frame; frames between two calls may be skipped."""
        if cut:
            self._box, self._n_missed, self._rival = None, 0, None
        landmarks = self._track(frame)
        if landmarks is None and self._retry_due():
            landmarks, changed = self._redetect(frame)
            cut |= changed
        elif landmarks is not None:
            self._until_redetect -= 1
            if self._until_redetect <= 0:
                larger = self._check_larger_face(frame, landmarks)
                if larger is not None:
                    landmarks, cut = larger, True
        self._update(landmarks)
        return TrackedFrame(frame, landmarks, cut)

    def track_only(self, frame: NDArray[Any], near: NDArray[Any]) -> NDArray[Any] | None:
        """Landmarks (468, 2) near those of a neighboring frame, or None; the state is unchanged."""
        return self._landmarks_near(frame, FaceBox.from_landmarks(near))

    def _track(self, frame: NDArray[Any]) -> NDArray[Any] | None:
        """Landmarks of the face near its last box, or None."""
        if self._box is None or self._n_missed >= TRACK_THROUGH_FRAMES:
            return None
        landmarks = self._landmarks_near(frame, self._box)
        if landmarks is None or _shift(FaceBox.from_landmarks(landmarks), self._box) >= MAX_SHIFT:
            return None
        return landmarks

    def _landmarks_near(self, frame: NDArray[Any], box: FaceBox) -> NDArray[Any] | None:
        """Landmarks (468, 2) of the face near its last box, or None; run again on a face that moved fast.

        The network was trained on faces in the center of its input: the lips of one at its edge may be off by
        half the distance of the eyes, in landmarks that are plausible.
        """
        for _ in range(MAX_PASSES):
            landmarks = self._landmarks(frame, box)
            if landmarks is None or not is_plausible_face(landmarks):
                return None
            last, box = box, FaceBox.from_landmarks(landmarks)
            if _shift(last, box) <= MAX_CALM_SHIFT:
                break
        return landmarks

    def _redetect(self, frame: NDArray[Any]) -> tuple[NDArray[Any] | None, bool]:
        """Landmarks of the lost face, or after a while of the largest one; whether it is another face."""
        found = self._landmarks_in(frame, self._detect(frame))
        if not found:
            return None, False
        last = self._box
        if last is None:
            return found[0], False
        for landmarks in found:
            box = FaceBox.from_landmarks(landmarks)
            if _shift(box, last) < SAME_FACE + DRIFT * self._n_missed and 0.5 < box.size / last.size < 2:
                return landmarks, False
        return (found[0], True) if self._n_missed >= FORGET_AFTER_FRAMES else (None, False)

    def _landmarks_in(self, frame: NDArray[Any], boxes: list[FaceBox]) -> list[NDArray[Any]]:
        """Landmarks (468, 2) of the boxes that hold plausible faces, largest first.

        The second pass uses the box round the first pass's landmarks.
        """
        found: list[NDArray[Any]] = []
        for box in boxes[:MAX_CANDIDATES]:
            landmarks = self._landmarks(frame, box)
            if landmarks is None or not is_plausible_face(landmarks):
                continue
            landmarks = self._landmarks(frame, FaceBox.from_landmarks(landmarks))
            if landmarks is not None and is_plausible_face(landmarks):
                found.append(landmarks)
        return sorted(found, key=lambda landmarks: -FaceBox.from_landmarks(landmarks).size)

    def _check_larger_face(self, frame: NDArray[Any], landmarks: NDArray[Any]) -> NDArray[Any] | None:
        """Landmarks of a clearly larger face that was there in two checks, else None."""
        current = FaceBox.from_landmarks(landmarks)
        others = [
            box for box in self._detect(frame) if _shift(box, current) > SAME_FACE and box.size > current.size
        ]
        rivals = ((FaceBox.from_landmarks(points), points) for points in self._landmarks_in(frame, others))
        box, rival = next(
            ((box, points) for box, points in rivals if box.size > MIN_SIZE_RATIO * current.size),
            (None, None),
        )
        before, self._rival = self._rival, box
        self._until_redetect = REDETECT_INTERVAL
        if box is None:
            return None
        if before is not None and _shift(box, before) < SAME_FACE:
            self._rival = None
            return rival
        self._until_redetect = CONFIRM_INTERVAL
        return None

    def _retry_due(self) -> bool:
        return self._n_missed in RETRY_AT or self._n_missed % RETRY_INTERVAL == 0

    def _update(self, landmarks: NDArray[Any] | None) -> None:
        if landmarks is None:
            self._n_missed += 1
        else:
            self._box, self._n_missed = FaceBox.from_landmarks(landmarks), 0


class SceneCutDetector:
    """Hard cuts: two thumbnails differ by much, and by much more than the ones before them did."""

    THUMBNAIL_SIZE = 24
    MIN_DIFFERENCE = 18.0  # mean absolute difference of 0..255 values
    MIN_RATIO = 4.0  # to the running mean of differences

    def __init__(self) -> None:
        self._thumbnail: NDArray[Any] | None = None
        self._shape: tuple[int, ...] | None = None
        self._running_mean = 0.0

    def step(self, frame: NDArray[Any]) -> bool:
        """frame (H, W, 3) uint8 -> whether a new scene starts with it; a change of frame size is a cut."""
        height, width = frame.shape[:2]
        row_step, column_step = max(1, height // self.THUMBNAIL_SIZE), max(1, width // self.THUMBNAIL_SIZE)
        thumbnail = frame[::row_step, ::column_step].astype(np.int16)
        before, shape = self._thumbnail, self._shape
        self._thumbnail, self._shape = thumbnail, frame.shape
        if before is None:
            return False
        if shape != frame.shape:
            return True
        difference = float(np.abs(thumbnail - before).mean())
        cut = difference > self.MIN_DIFFERENCE and difference > self.MIN_RATIO * self._running_mean
        if not cut:
            self._running_mean += 0.2 * (difference - self._running_mean)
        return cut


def _shift(a: FaceBox, b: FaceBox) -> float:
    """Distance of two boxes' centers as a fraction of the smaller one's size."""
    return math.hypot(a.x - b.x, a.y - b.y) / max(1.0, min(a.size, b.size))
