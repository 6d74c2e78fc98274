"""The second plug for face networks: a FaceLandmarker bundle (`face_landmarker.task`) given by path.

Newer mediapipe has no models in its wheel and no graphs to build, only such bundles, to be fetched by
the user. A bundle with the wrong network inside loads without a word and answers with noise, so the
answers are checked.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from lip2speech.video.landmarks.geometry import N_LANDMARKS, FaceBox, box_of, cut_window, plausible
from lip2speech.video.landmarks.mediapipe import quiet_stderr, require_mediapipe

N_FACES = 4
CHECK_AFTER = 5  # answers
MIN_PLAUSIBLE = 0.5  # of them must be faces; a good bundle gives over 0.95 even in crowds
LOOK_ROUND = 1.4  # the bundle's own detector wants some of the scene round the square


class TaskFaces:
    """Mesh and detector out of one bundle.

    ValueError for a bundle that cannot be loaded or answers with noise.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.name = Path(path).name
        if not Path(path).is_file():
            raise ValueError(
                f"{path}: no such file; expected a FaceLandmarker bundle (face_landmarker.task)."
            )
        require_mediapipe()
        with quiet_stderr():
            import mediapipe
            from mediapipe.tasks.python import BaseOptions, vision

            # The bytes, not the path: mediapipe looks up relative paths beside itself.
            options = vision.FaceLandmarkerOptions(
                base_options=BaseOptions(model_asset_buffer=Path(path).read_bytes()), num_faces=N_FACES
            )
            try:
                self._landmarker: Any = vision.FaceLandmarker.create_from_options(options)
            except (RuntimeError, ValueError) as error:
                raise ValueError(self._not_ours(error)) from None
        self._image = lambda pixels: mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
        self._answers = self._faces = 0

    def mesh(self, frame: np.ndarray, box: FaceBox) -> np.ndarray | None:
        """frame (H, W, 3) uint8 and a square round a face -> (468, 2) float32 pixels, or None."""
        window, left, top = cut_window(frame, box._replace(size=box.size * LOOK_ROUND))
        found = [points + np.array([left, top], np.float32) for points in self._points(window)]
        near = [points for points in found if _inside(points, box)]
        return max(near, key=lambda points: box_of(points).size, default=None)

    def detect(self, frame: np.ndarray) -> list[FaceBox]:
        """Squares round every face in (H, W, 3) uint8, largest first."""
        boxes = [box_of(points) for points in self._points(np.ascontiguousarray(frame))]
        return sorted(boxes, key=lambda box: -box.size)

    def _points(self, pixels: np.ndarray) -> list[np.ndarray]:
        """(468, 2) float32 of each face in a picture; the iris points that follow are left out."""
        height, width = pixels.shape[:2]
        found = []
        try:
            faces = self._landmarker.detect(self._image(pixels)).face_landmarks
        except (RuntimeError, ValueError) as error:
            raise ValueError(self._not_ours(error)) from None
        for face in faces:
            points = np.array(
                [(p.x * width - 0.5, p.y * height - 0.5) for p in face[:N_LANDMARKS]], np.float32
            )
            self._check(points)
            found.append(points)
        return found

    def _not_ours(self, error: Exception) -> str:
        reason = str(error).splitlines()[0][:120]
        return f"{self.name}: not a FaceLandmarker bundle ({reason}); expected face_landmarker.task."

    def _check(self, points: np.ndarray) -> None:
        """Take an answer into the account, and complain once it is clear that these are no faces."""
        self._answers += 1
        self._faces += plausible(points)
        if self._answers >= CHECK_AFTER and self._faces < MIN_PLAUSIBLE * self._answers:
            raise ValueError(
                f"{self.name}: its points are no face in {self._answers - self._faces} of {self._answers} "
                "answers, expected lips below the nose; use the official face_landmarker.task."
            )


def _inside(points: np.ndarray, box: FaceBox) -> bool:
    """Whether the points' middle lies in the square."""
    x, y = points.mean(0) - (box.x, box.y)
    return bool(max(abs(x), abs(y)) < box.size / 2)
