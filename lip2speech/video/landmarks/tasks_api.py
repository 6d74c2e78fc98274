"""FaceModel with a FaceLandmarker bundle (`face_landmarker.task`, mediapipe Tasks API) given by path.

Newer mediapipe wheels contain no models and no graphs to build; users download such a bundle themselves. A
bundle with a wrong network inside loads silently and returns noise, so the outputs are checked.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lip2speech.video.landmarks.geometry import N_LANDMARKS, FaceBox, crop_window, is_plausible_face
from lip2speech.video.landmarks.mediapipe import quiet_stderr, require_mediapipe

MAX_FACES = 4
CHECK_AFTER = 5  # faces
MIN_PLAUSIBLE = 0.5  # fraction of plausible faces; a correct bundle gives over 0.95 even in crowds
CONTEXT = 1.4  # enlargement of the box: the bundle's own detector needs some of the scene round it


class TasksFaceModel:
    """`FaceModel` of one bundle, which holds both networks.

    Raises:
        ValueError: the bundle cannot be loaded, or, from any method, its outputs are noise.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = Path(path).name
        if not Path(path).is_file():
            raise ValueError(
                f"{path}: no such file; expected a FaceLandmarker bundle (face_landmarker.task)."
            )
        require_mediapipe()
        with quiet_stderr():
            import mediapipe
            from mediapipe.tasks.python import BaseOptions, vision

            # The bytes, not the path: mediapipe resolves relative paths against its own folder.
            options = vision.FaceLandmarkerOptions(
                base_options=BaseOptions(model_asset_buffer=Path(path).read_bytes()), num_faces=MAX_FACES
            )
            try:
                self._landmarker: Any = vision.FaceLandmarker.create_from_options(options)
            except (RuntimeError, ValueError) as error:
                raise ValueError(self._not_a_bundle(error)) from None
        self._image: Callable[[NDArray[Any]], Any] = lambda pixels: mediapipe.Image(
            image_format=mediapipe.ImageFormat.SRGB, data=pixels
        )
        self._n_outputs = self._n_plausible = 0

    def warm_up(self) -> None:
        """Does nothing: the networks are loaded with the bundle."""

    def landmarks(self, frame: NDArray[Any], box: FaceBox) -> NDArray[Any] | None:
        """Landmarks (468, 2) float32, in pixels, of the face in a box of (H, W, 3) uint8; None if none."""
        window, left, top = crop_window(frame, box._replace(size=box.size * CONTEXT))
        found = [points + np.array([left, top], np.float32) for points in self._all_landmarks(window)]
        inside = [points for points in found if _is_inside(points, box)]
        return max(inside, key=lambda points: FaceBox.from_landmarks(points).size, default=None)

    def detect(self, frame: NDArray[Any]) -> list[FaceBox]:
        """Boxes of all faces in (H, W, 3) uint8, largest first."""
        found = self._all_landmarks(np.ascontiguousarray(frame))
        return sorted((FaceBox.from_landmarks(points) for points in found), key=lambda box: -box.size)

    def _all_landmarks(self, image: NDArray[Any]) -> list[NDArray[Any]]:
        """(468, 2) float32 of each face in an image, without the iris points that follow."""
        height, width = image.shape[:2]
        try:
            faces = self._landmarker.detect(self._image(image)).face_landmarks
        except (RuntimeError, ValueError) as error:
            raise ValueError(self._not_a_bundle(error)) from None
        found = []
        for face in faces:
            points = np.array(
                [(p.x * width - 0.5, p.y * height - 0.5) for p in face[:N_LANDMARKS]], np.float32
            )
            self._check(points)
            found.append(points)
        return found

    def _not_a_bundle(self, error: Exception) -> str:
        reason = str(error).splitlines()[0][:120]
        return f"{self.name}: not a FaceLandmarker bundle ({reason}); expected face_landmarker.task."

    def _check(self, points: NDArray[Any]) -> None:
        """Count plausible faces, and raise ValueError once most are implausible."""
        self._n_outputs += 1
        self._n_plausible += is_plausible_face(points)
        if self._n_outputs >= CHECK_AFTER and self._n_plausible < MIN_PLAUSIBLE * self._n_outputs:
            raise ValueError(
                f"{self.name}: {self._n_outputs - self._n_plausible} of {self._n_outputs} outputs are not a "
                "face, expected lips below the nose; use the official face_landmarker.task."
            )


def _is_inside(points: NDArray[Any], box: FaceBox) -> bool:
    """Whether the points' center is in the box."""
    x, y = points.mean(0) - (box.x, box.y)
    return bool(max(abs(x), abs(y)) < box.size / 2)
