"""A fake face model and synthetic landmarks, for testing tracking and cropping without networks."""

import numpy as np

from lip2speech.video.landmarks.geometry import (
    LIPS,
    MEAN_STABLE_POINTS,
    N_LANDMARKS,
    STABLE_POINTS,
    FaceBox,
)

EYE_DISTANCE = float(np.hypot(*(MEAN_STABLE_POINTS[1] - MEAN_STABLE_POINTS[4])))
MOUTH = np.array([129.3, 157.8])  # lip center of the mean face


def landmarks_at(
    x: float, y: float, scale: float = 1.0, angle: float = 0.0, mouth_open: float = 0.0
) -> np.ndarray:
    """Landmarks (468, 2) float32 of the mean face, scaled, rotated by radians, with the lips at (x, y)."""
    rng = np.random.default_rng(0)
    points = rng.uniform((85, 70), (175, 195), (N_LANDMARKS, 2))
    points[STABLE_POINTS] = MEAN_STABLE_POINTS
    points[1] = (129, 133)  # tip of the nose
    turn = np.linspace(0, 2 * np.pi, len(LIPS), endpoint=False)
    points[LIPS] = MOUTH + np.stack([22 * np.cos(turn), (6 + mouth_open) * np.sin(turn)], 1)
    cos, sin = np.cos(angle), np.sin(angle)
    return (scale * (points - MOUTH) @ np.array([[cos, sin], [-sin, cos]]) + (x, y)).astype(np.float32)


def box_at(x: float, y: float, scale: float = 1.0) -> FaceBox:
    """The box of that face."""
    return FaceBox.from_landmarks(landmarks_at(x, y, scale))


class FakeFaceModel:
    """A face model with known faces: `people[t]` lists (x, y, scale) of each at frame t.

    Frames show their number (see `frames`). Landmarks are returned for a face near the given box, except in
    the `no_landmarks` frames; the detector finds every face. Calls are counted.
    """

    def __init__(
        self, people: list[list[tuple[float, float, float]]], no_landmarks: tuple[int, ...] = ()
    ) -> None:
        self.people, self.no_landmarks = people, no_landmarks
        self.n_detect = self.n_landmarks = 0

    def warm_up(self) -> None:
        """Nothing to load."""

    def landmarks(self, frame: np.ndarray, box: FaceBox) -> np.ndarray | None:
        self.n_landmarks += 1
        if frame_number(frame) in self.no_landmarks:
            return None
        for person in self.people[frame_number(frame)]:
            there = box_at(*person)
            if (
                np.hypot(there.x - box.x, there.y - box.y) < 0.5 * box.size
                and 0.5 < there.size / box.size < 2
            ):
                return landmarks_at(*person)
        return None

    def detect(self, frame: np.ndarray) -> list[FaceBox]:
        self.n_detect += 1
        return sorted(
            (box_at(*person) for person in self.people[frame_number(frame)]), key=lambda box: -box.size
        )


def frames(n: int, cuts: tuple[int, ...] = (), size: tuple[int, int] = (360, 640)) -> list[np.ndarray]:
    """n gray frames (H, W, 3) uint8 with their number in one pixel; the gray jumps at every cut."""
    out, shade = [], 60
    for k in range(n):
        shade = 260 - shade if k in cuts else shade
        frame = np.full((*size, 3), shade, np.uint8)
        frame[1, 1, :2] = divmod(k, 256)
        out.append(frame)
    return out


def frame_number(frame: np.ndarray) -> int:
    """The number of a frame of `frames`."""
    return 256 * int(frame[1, 1, 0]) + int(frame[1, 1, 1])
