"""A `.task` bundle by path: loading, use, and detection of noise outputs."""

import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lip2speech.video.landmarks import load_face_model, track_faces
from lip2speech.video.landmarks.tasks_api import CHECK_AFTER, TasksFaceModel
from tests.video.faces import box_at, landmarks_at


class FakeLandmarker:
    """Returns the same faces for every image, each (n, 2) in pixels of the whole frame."""

    def __init__(self, *faces: np.ndarray) -> None:
        self.faces = faces

    def detect(self, pixels: np.ndarray) -> Any:
        height, width = pixels.shape[:2]
        points = [
            [SimpleNamespace(x=(x + 0.5) / width, y=(y + 0.5) / height) for x, y in face.tolist()]
            for face in self.faces
        ]
        return SimpleNamespace(face_landmarks=points)


def fake_tasks_model(*faces: np.ndarray) -> TasksFaceModel:
    """A TasksFaceModel with a fake landmarker."""
    model = TasksFaceModel.__new__(TasksFaceModel)
    model.name, model._n_outputs, model._n_plausible = "face.task", 0, 0
    model._landmarker, model._image = FakeLandmarker(*faces), lambda pixels: pixels
    return model


def with_irises(points: np.ndarray) -> np.ndarray:
    """The 478 points of a bundle: 468 landmarks and ten of the irises."""
    return np.concatenate([points, points[:10]])


def test_faces_are_sorted_by_size_and_irises_dropped() -> None:
    model = fake_tasks_model(
        with_irises(landmarks_at(100, 150, 0.7)), with_irises(landmarks_at(400, 200, 1.1))
    )
    boxes = model.detect(np.zeros((360, 640, 3), np.uint8))
    assert [round(box.x) for box in boxes] == [round(box_at(400, 200, 1.1).x), round(box_at(100, 150, 0.7).x)]


def test_landmarks_are_in_pixels_of_the_frame() -> None:
    inside = with_irises(landmarks_at(150, 150, 1.0))
    model = fake_tasks_model(inside)
    frame = np.zeros((300, 300, 3), np.uint8)
    np.testing.assert_allclose(model._all_landmarks(frame)[0], inside[:468], atol=1e-3)


def test_noise_outputs_raise() -> None:
    rng = np.random.default_rng(0)
    model = fake_tasks_model(rng.uniform(0, 200, (478, 2)))
    frames = [np.full((200, 200, 3), k, np.uint8) for k in range(CHECK_AFTER * 5)]
    with pytest.raises(ValueError, match=r"face.task: 5 of 5 outputs are not a face"):
        list(track_faces(frames, model))


def test_occasional_implausible_outputs_are_tolerated() -> None:
    model = fake_tasks_model(with_irises(landmarks_at(150, 150)), with_irises(landmarks_at(100, 100, 0.05)))
    for _ in range(20):
        model.detect(np.zeros((300, 300, 3), np.uint8))


def test_a_missing_file_and_an_invalid_bundle_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing.task: no such file; expected a FaceLandmarker bundle"):
        load_face_model(tmp_path / "nothing.task")
    (tmp_path / "face.task").write_bytes(b"hello")
    with pytest.raises(
        ValueError, match=r"face.task: not a FaceLandmarker bundle .*; expected face_landmarker.task"
    ):
        load_face_model(tmp_path / "face.task")


@pytest.mark.parametrize("mesh", ["face_landmark.tflite", "face_landmark_with_attention.tflite"])
def test_a_bundle_with_the_wrong_networks_raises(mesh: str, tmp_path: Path) -> None:
    """The wheel's own networks, zipped under a bundle's names: it loads and returns noise."""
    data = pytest.importorskip("skimage.data")
    portrait = np.ascontiguousarray(data.astronaut()[:260, 95:355])
    model = load_face_model(wrong_bundle(tmp_path / "face.task", mesh))
    tracked = track_faces([np.roll(portrait, k, 1) for k in range(60)], model)
    with pytest.raises(
        ValueError, match="face.task: (.* outputs are not a face|not a FaceLandmarker bundle)"
    ):
        list(tracked)


def wrong_bundle(path: Path, name: str) -> Path:
    """A face_landmarker.task made from the networks in mediapipe's wheel."""
    import mediapipe

    modules = Path(mediapipe.__file__).parent / "modules"
    detector = modules / "face_detection" / "face_detection_short_range.tflite"
    mesh = modules / "face_landmark" / name
    with zipfile.ZipFile(path, "w") as bundle:
        bundle.write(detector, "face_detector.tflite")
        bundle.write(mesh, "face_landmarks_detector.tflite")
    return path
