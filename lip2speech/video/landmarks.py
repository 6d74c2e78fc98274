"""Frames -> the points of one face in each: mediapipe's networks, driven by our own tracking.

The mesh network (468 points in a square round a face) runs on the square that the previous frame's points give; a detector runs
only where that fails (`tracking.FaceTracker`). Both come in mediapipe's wheel, so nothing is fetched. This is the only door to
mediapipe. Knows pictures and points; knows nothing of mouths.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lip2speech.video.errors import MediaError
from lip2speech.video.geometry import FACE_MARGIN, N_LANDMARKS, FaceBox
from lip2speech.video.tracking import FaceTracker

# A mesh graph of one node: the network, fed with our own square instead of mediapipe's detector.
MESH_GRAPH = """
input_stream: "image"
input_stream: "face"
output_stream: "landmarks"
node {
  calculator: "FaceLandmarkCpu"
  input_stream: "IMAGE:image"
  input_stream: "ROI:face"
  output_stream: "LANDMARKS:landmarks"
}
"""
LANDMARK_BYTES = (
    17  # of one point in a serialised landmark list: tag, length 15, then three times tag and float32
)
DETECTOR_SIDE = 640  # the detectors look at 128 and 192 pixels; a larger frame is only copied for nothing


@dataclass(frozen=True)
class Tracked:
    """One frame and what was found in it.

    Attributes:
        frame: (H, W, 3) uint8 RGB.
        landmarks: (468, 2) float32 pixels, (0, 0) the centre of the first pixel; None where no face was found.
        cut: the scene or the followed face changed just before this frame; nothing may be smoothed across.
    """

    frame: np.ndarray
    landmarks: np.ndarray | None
    cut: bool = False


def detect_landmarks(frames: Iterable[np.ndarray]) -> Iterator[Tracked]:
    """Follow one face, the largest steady one, through frames (H, W, 3) uint8 RGB.

    The iterator that comes back carries `.report` of the frames it was given, if those have one.
    """
    return LandmarkReader(frames)


class LandmarkReader:
    """Iterator of `Tracked`; holds one frame at a time."""

    def __init__(self, frames: Iterable[np.ndarray], tracker: FaceTracker | None = None) -> None:
        self.report = getattr(frames, "report", None)
        self._frames = iter(frames)
        self._tracker = tracker or FaceTracker(FaceMesh(), FaceDetector())
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


class FaceMesh:
    """The mesh network: (frame, square round a face) -> 468 points, or None where it sees no face there."""

    def __init__(self) -> None:
        mediapipe = _mediapipe()
        from google.protobuf import text_format
        from mediapipe.framework import calculator_pb2
        from mediapipe.framework.formats import rect_pb2
        from mediapipe.python.solution_base import SolutionBase

        import_face_nodes(mediapipe)
        config = text_format.Parse(MESH_GRAPH, calculator_pb2.CalculatorGraphConfig())
        self._graph = SolutionBase(graph_config=config, outputs=["landmarks"])
        self._rect = rect_pb2.NormalizedRect

    def __call__(self, frame: np.ndarray, box: FaceBox) -> np.ndarray | None:
        """frame (H, W, 3) uint8 -> (468, 2) float32 pixels, or None."""
        window, left, top = cut_window(frame, box)
        height, width = window.shape[:2]
        if height < 2 or width < 2:
            return None
        square = self._rect(
            x_center=(box.x + 0.5 - left) / width,
            y_center=(box.y + 0.5 - top) / height,
            width=box.size / width,
            height=box.size / height,
            rotation=box.angle,
        )
        found = self._graph.process({"image": window, "face": square}).landmarks
        if found is None:
            return None
        return (_points(found) * (width, height) + (left - 0.5, top - 0.5)).astype(np.float32)


class FaceDetector:
    """Face detection in the whole frame: the full-range network first, the short-range one for faces too close for it."""

    def __init__(self, min_confidence: float = 0.5) -> None:
        _mediapipe()
        from mediapipe.python.solutions.face_detection import FaceDetection

        self._full = FaceDetection(min_detection_confidence=min_confidence, model_selection=1)
        self._near = FaceDetection(min_detection_confidence=min_confidence, model_selection=0)

    def __call__(self, frame: np.ndarray) -> list[FaceBox]:
        """Squares round every face in (H, W, 3) uint8, largest first."""
        import cv2

        height, width = frame.shape[:2]
        shrink = DETECTOR_SIDE / max(height, width)
        if shrink < 1:
            size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        frame = np.ascontiguousarray(frame)
        found = self._full.process(frame).detections or self._near.process(frame).detections or []
        boxes = [_detected_box(d.location_data, width, height) for d in found]
        return sorted(boxes, key=lambda box: -box.size)


def cut_window(frame: np.ndarray, box: FaceBox) -> tuple[np.ndarray, int, int]:
    """The upright part of the frame that holds the square, with its left and top: copying all of a 4K frame costs more
    than the network."""
    height, width = frame.shape[:2]
    reach = box.size / 2 * (abs(np.cos(box.angle)) + abs(np.sin(box.angle))) + 2
    left, right = (int(np.clip(box.x + side * reach, 0, width)) for side in (-1, 1))
    top, bottom = (int(np.clip(box.y + side * reach, 0, height)) for side in (-1, 1))
    return np.ascontiguousarray(frame[top:bottom, left:right]), left, top


def _points(landmarks: Any) -> np.ndarray:
    """(468, 2) float64 in parts of the picture. Reading 936 numbers one by one takes longer than the network's first layers,
    so the message is read as the array it is."""
    raw = landmarks.SerializeToString()
    if len(raw) == N_LANDMARKS * LANDMARK_BYTES:
        fields = np.frombuffer(raw, np.uint8).reshape(N_LANDMARKS, LANDMARK_BYTES)
        x, y = fields[:, 3:7], fields[:, 8:12]
        return np.stack([np.ascontiguousarray(v).view("<f4")[:, 0] for v in (x, y)], 1).astype(np.float64)
    return np.array([(p.x, p.y) for p in landmarks.landmark], dtype=np.float64)


def _detected_box(location: Any, width: int, height: int) -> FaceBox:
    """The detector's box and eyes as the square the mesh wants."""
    box, (right, left) = location.relative_bounding_box, location.relative_keypoints[:2]
    angle = float(np.arctan2((left.y - right.y) * height, (left.x - right.x) * width))
    x, y = (box.xmin + box.width / 2) * width, (box.ymin + box.height / 2) * height
    return FaceBox(x - 0.5, y - 0.5, FACE_MARGIN * max(box.width * width, box.height * height), angle)


def import_face_nodes(mediapipe: Any) -> None:
    """Registers the graph nodes we name; mediapipe does it when its face mesh is imported."""
    import mediapipe.python.solutions.face_mesh  # noqa: F401


def _mediapipe() -> Any:
    """The package, quiet, or one line that says what is missing."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    try:
        import mediapipe
    except ImportError as error:
        raise MediaError(missing_library(error)) from None
    return mediapipe


def missing_library(error: ImportError) -> str:
    """An import error in one line that names what to install."""
    text = str(error)
    packages = {
        "libGL.so": "libgl1",
        "libgthread": "libglib2.0-0",
        "libglib": "libglib2.0-0",
        "libEGL": "libegl1",
        "libGLESv2": "libgles2",
    }
    for library, package in packages.items():
        if library in text:
            return f"the system library {library} is missing; install it, on Debian and Ubuntu: apt-get install {package}"
    return f"mediapipe cannot be imported ({text}); install it: pip install mediapipe==0.10.21 (Python 3.9 to 3.12)"
