"""FaceModel: the interface of the networks that detect faces and predict their landmarks."""

import os
from typing import Any, Protocol

from numpy.typing import NDArray

from lip2speech.video.landmarks.geometry import FaceBox


class FaceModel(Protocol):
    """A face detector and a landmark network. Implementations keep no state between frames."""

    def warm_up(self) -> None:
        """Load all networks now rather than on first use."""

    def detect(self, frame: NDArray[Any]) -> list[FaceBox]:
        """Boxes of all faces in (H, W, 3) uint8, largest first."""

    def landmarks(self, frame: NDArray[Any], box: FaceBox) -> NDArray[Any] | None:
        """Landmarks (468, 2) float32, in pixels, of the face in a box of (H, W, 3) uint8; None if none."""


def load_face_model(task_file: str | os.PathLike[str] | None = None, *, warm_up: bool = False) -> FaceModel:
    """The networks in mediapipe's wheel (one instance per thread), or those in a `face_landmarker.task`.

    Args:
        task_file: a FaceLandmarker bundle.
        warm_up: load all networks now rather than on first use.

    Raises:
        ValueError: not a FaceLandmarker bundle.
    """
    if task_file is not None:
        from lip2speech.video.landmarks.tasks_api import TasksFaceModel

        return TasksFaceModel(task_file)
    from lip2speech.video.landmarks.mediapipe import thread_face_model

    model = thread_face_model()
    if warm_up:
        model.warm_up()
    return model
