"""One face through time: follow, lose, find again, stay with the same one.

    every frame   mesh on the square of the frame before
    on a miss     detector -> squares -> mesh; then more and more seldom: a film without faces costs little
    now and then  detector, in case a larger face has come: the largest steady face is the one to follow

The networks are a plug (`Faces`), so this file knows none of them.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lip2speech.video.landmarks.geometry import FaceBox, box_of, plausible

KEEP_TRYING = 5  # frames after a loss in which the mesh still looks where the face was
EAGER_TRIES = (0, 1, 3)  # frames after a loss at which the detector is asked, then every IDLE_EVERY
IDLE_EVERY = 5  # 0.2 s: an interpolated gap (0.5 s) still bridges it
LOOK_ROUND_EVERY = 25  # frames looked at between looks for a larger face: 1 to 2 s
SECOND_LOOK = 5  # a larger face must still be there after 0.2 to 0.4 s
LARGER = 1.25  # how much larger, or two equal faces would take turns
FORGET_AFTER = 25  # frames without it, after which another face may take over
SAME_FACE = 0.6  # centres closer than this share of the size are one face
DRIFT = 0.05  # and for every frame it was out of sight this much more
JUMP = 0.35  # a face moves less than this share of its square from frame to frame
N_CANDIDATES = 4  # detected faces that are looked at more closely


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


class FaceModel(Protocol):
    """What looks at pictures."""

    def mesh(self, frame: np.ndarray, box: FaceBox) -> np.ndarray | None:
        """Points (468, 2) float32 of the face in a square of (H, W, 3) uint8, or None."""

    def detect(self, frame: np.ndarray) -> list[FaceBox]:
        """Squares round all faces in (H, W, 3) uint8, largest first."""


class FaceTracker:
    """State of the followed face in one video: `step` for each frame in order, or its two halves."""

    def __init__(self, faces: FaceModel) -> None:
        self._mesh = faces.mesh
        self._detect = faces.detect
        self._scene = SceneCutDetector()
        self._box: FaceBox | None = None  # where the face was last seen
        self._missed = 0  # frames since then
        self._next_look = LOOK_ROUND_EVERY
        self._rival: FaceBox | None = None

    def step(self, frame: np.ndarray) -> Tracked:
        """The next frame, (H, W, 3) uint8."""
        return self.look(frame, self.begins_scene(frame))

    def begins_scene(self, frame: np.ndarray) -> bool:
        """Whether there is a cut before this frame; to be asked once for every frame, in order."""
        return self._scene.step(frame)

    def look(self, frame: np.ndarray, cut: bool) -> Tracked:
        """Find the face in a frame; frames between two looks may be left out."""
        if cut:
            self._box, self._missed, self._rival = None, 0, None
        landmarks = self._follow(frame)
        if landmarks is None and self._search_due():
            landmarks, changed = self._find(frame)
            cut |= changed
        elif landmarks is not None:
            self._next_look -= 1
            if self._next_look <= 0:
                other = self._look_round(frame, landmarks)
                if other is not None:
                    landmarks, cut = other, True
        self._remember(landmarks)
        return Tracked(frame, landmarks, cut)

    def glance(self, frame: np.ndarray, near: np.ndarray) -> np.ndarray | None:
        """Landmarks (468, 2) close to those of a neighbouring frame, or None; nothing is remembered."""
        landmarks = self._mesh(frame, box_of(near))
        return landmarks if landmarks is not None and plausible(landmarks) else None

    def _follow(self, frame: np.ndarray) -> np.ndarray | None:
        """The face near where it was, or None."""
        if self._box is None or self._missed >= KEEP_TRYING:
            return None
        landmarks = self._mesh(frame, self._box)
        if landmarks is None or not plausible(landmarks):
            return None
        return landmarks if _shift(box_of(landmarks), self._box) < JUMP else None

    def _find(self, frame: np.ndarray) -> tuple[np.ndarray | None, bool]:
        """The lost face if it is seen again, else after a while the largest; whether it is another one."""
        found = self._faces(frame, self._detect(frame))
        if not found:
            return None, False
        last = self._box
        if last is None:
            return found[0], False
        for landmarks in found:
            box = box_of(landmarks)
            if _shift(box, last) < SAME_FACE + DRIFT * self._missed and 0.5 < box.size / last.size < 2:
                return landmarks, False
        return (found[0], True) if self._missed >= FORGET_AFTER else (None, False)

    def _faces(self, frame: np.ndarray, boxes: list[FaceBox]) -> list[np.ndarray]:
        """Meshes (468, 2) of the detected squares that are faces, largest first.

        The second pass sits on the first one's points.
        """
        found: list[np.ndarray] = []
        for box in boxes[:N_CANDIDATES]:
            landmarks = self._mesh(frame, box)
            if landmarks is None or not plausible(landmarks):
                continue
            landmarks = self._mesh(frame, box_of(landmarks))
            if landmarks is not None and plausible(landmarks):
                found.append(landmarks)
        return sorted(found, key=lambda landmarks: -box_of(landmarks).size)

    def _look_round(self, frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray | None:
        """Landmarks of a clearly larger face that has been there for two looks, else None."""
        own = box_of(landmarks)
        others = [box for box in self._detect(frame) if _shift(box, own) > SAME_FACE and box.size > own.size]
        rival = next((r for r in self._faces(frame, others) if box_of(r).size > LARGER * own.size), None)
        self._next_look = LOOK_ROUND_EVERY
        if rival is None:
            self._rival = None
            return None
        before, self._rival = self._rival, box_of(rival)
        if before is not None and _shift(self._rival, before) < SAME_FACE:
            self._rival = None
            return rival
        self._next_look = SECOND_LOOK
        return None

    def _search_due(self) -> bool:
        return self._missed in EAGER_TRIES or self._missed % IDLE_EVERY == 0

    def _remember(self, landmarks: np.ndarray | None) -> None:
        if landmarks is None:
            self._missed += 1
        else:
            self._box, self._missed = box_of(landmarks), 0


class SceneCutDetector:
    """Hard cuts: two small pictures differ by much, and by much more than the ones before them did."""

    SIDE = 24
    LEAST = 18.0  # mean absolute difference of 0..255 values
    TIMES_USUAL = 4.0

    def __init__(self) -> None:
        self._thumb: np.ndarray | None = None
        self._shape: tuple[int, ...] | None = None
        self._usual = 0.0

    def step(self, frame: np.ndarray) -> bool:
        """frame (H, W, 3) uint8 -> whether a new scene begins with it. A change of size is a cut as well."""
        height, width = frame.shape[:2]
        thumb = frame[:: max(1, height // self.SIDE), :: max(1, width // self.SIDE)].astype(np.int16)
        before, shape = self._thumb, self._shape
        self._thumb, self._shape = thumb, frame.shape
        if before is None:
            return False
        if shape != frame.shape:
            return True
        change = float(np.abs(thumb - before).mean())
        cut = change > self.LEAST and change > self.TIMES_USUAL * self._usual
        if not cut:
            self._usual += 0.2 * (change - self._usual)
        return cut


def _shift(a: FaceBox, b: FaceBox) -> float:
    """Distance of two squares' centres as a share of the smaller one's side."""
    return math.hypot(a.x - b.x, a.y - b.y) / max(1.0, min(a.size, b.size))
