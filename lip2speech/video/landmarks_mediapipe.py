"""The face networks inside mediapipe's wheel (0.10.21 is the last that has them), so nothing is ever fetched.

The mesh network (Kartynnik et al. 2019, "Real-time facial surface geometry from monocular video on
mobile GPUs") runs in a graph of our own, one node long, in our thread: the ready-made solution brings
its own detector and tracking, follows whichever face it likes, and spends a fifth of its time outside
the network. Detection: BlazeFace (Bazarevsky et al. 2019).
"""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lip2speech.video.errors import MediaError
from lip2speech.video.geometry import FACE_MARGIN, N_LANDMARKS, FaceBox, cut_window

# The square to look in comes from us. The executor runs the nodes in the caller's thread.
MESH_GRAPH = """
input_stream: "image"
input_stream: "face"
output_stream: "landmarks"
executor { name: "" type: "ApplicationThreadExecutor" }
node {
  calculator: "FaceLandmarkCpu"
  input_stream: "IMAGE:image"
  input_stream: "ROI:face"
  output_stream: "LANDMARKS:landmarks"
}
"""
LANDMARK_BYTES = 17  # of one point in a serialised list: tag, length 15, then three times tag and float32
DETECTOR_SIDE = 640  # the detectors look at 128 and 192 pixels; a larger frame is only copied for nothing
MIN_CONFIDENCE = 0.5
LOOK_AGAIN = 1.33  # of the mesh's square, which is 1.5 times the face: twice the face


_THREAD = threading.local()


def thread_faces() -> "MediaPipeFaces":
    """The networks of this thread: they remember nothing between frames and take 0.1 s to build."""
    if not hasattr(_THREAD, "faces"):
        _THREAD.faces = MediaPipeFaces()
    return _THREAD.faces


class MediaPipeFaces:
    """Mesh and detector; each network is built when it is first needed."""

    def mesh(self, frame: np.ndarray, box: FaceBox) -> np.ndarray | None:
        """frame (H, W, 3) uint8 and a square round a face -> (468, 2) float32 pixels, or None."""
        return self._mesh(frame, box)

    def detect(self, frame: np.ndarray) -> list[FaceBox]:
        """Squares round every face in (H, W, 3) uint8, largest first.

        The full-range network sees small faces; the short-range one sees those too close for it.
        """
        boxes = _boxes(self._full_range, frame) or _boxes(self._short_range, frame)
        return sorted((self._refined(frame, box) for box in boxes), key=lambda box: -box.size)

    def _refined(self, frame: np.ndarray, box: FaceBox) -> FaceBox:
        """A look from near by: of a small face the full-range box is up to twice too large for the mesh."""
        window, left, top = cut_window(frame, FaceBox(box.x, box.y, LOOK_AGAIN * box.size))
        near = [FaceBox(b.x + left, b.y + top, b.size, b.angle) for b in _boxes(self._short_range, window)]
        return min(near, key=lambda b: abs(b.x - box.x) + abs(b.y - box.y), default=box)

    @cached_property
    def _mesh(self) -> "MeshGraph":
        return MeshGraph()

    @cached_property
    def _full_range(self) -> Any:
        return _detector(1)

    @cached_property
    def _short_range(self) -> Any:
        return _detector(0)


class MeshGraph:
    """The mesh network alone."""

    def __init__(self) -> None:
        require_mediapipe()
        with quiet_stderr():
            import mediapipe
            from google.protobuf import text_format
            from mediapipe.framework import calculator_pb2
            from mediapipe.framework.formats import rect_pb2
            from mediapipe.python import packet_creator, packet_getter
            from mediapipe.python._framework_bindings import calculator_graph, image_frame, resource_util
            from mediapipe.python.solutions import face_mesh  # noqa: F401  registers the node

            resource_util.set_resource_dir(str(Path(mediapipe.__file__).parents[1]))
            config = text_format.Parse(MESH_GRAPH, calculator_pb2.CalculatorGraphConfig())
            self._graph = calculator_graph.CalculatorGraph(graph_config=config)
            self._found: list[Any] = []
            # The graph never lets go of its observer: one that knew `self` would keep 29 MB alive for ever.
            found, read = self._found, packet_getter.get_proto
            self._graph.observe_output_stream(
                "landmarks", lambda _, packet: found.append(None if packet.is_empty() else read(packet)), True
            )
            self._graph.start_run({})
            self._create = packet_creator
            self._rgb, self._rect = image_frame.ImageFormat.SRGB, rect_pb2.NormalizedRect
            self._time = 0
            # The first picture brings forth a warning about pictures that are not square; ours are.
            self(np.zeros((8, 8, 3), np.uint8), FaceBox(3.5, 3.5, 8))

    def __call__(self, frame: np.ndarray, box: FaceBox) -> np.ndarray | None:
        """frame (H, W, 3) uint8 and a square in it -> (468, 2) float32 pixels; None: no face there."""
        window, left, top = cut_window(frame, box)
        side = len(window)
        x, y, size = (box.x + 0.5 - left) / side, (box.y + 0.5 - top) / side, box.size / side
        square = self._rect(x_center=x, y_center=y, width=size, height=size, rotation=box.angle)
        landmarks = self._run(window, square)
        if landmarks is None:
            return None
        return (read_points(landmarks) * side + (left - 0.5, top - 0.5)).astype(np.float32)

    def _run(self, window: np.ndarray, square: Any) -> Any:
        """The graph's landmark list for one picture, or None."""
        self._time += 1
        self._found.clear()
        image = self._create.create_image_frame(data=window, image_format=self._rgb)
        self._graph.add_packet_to_input_stream("image", image.at(self._time))
        self._graph.add_packet_to_input_stream("face", self._create.create_proto(square).at(self._time))
        self._graph.wait_until_idle()
        return self._found[-1] if self._found else None


def read_points(landmarks: Any) -> np.ndarray:
    """(468, 2) float64 of a landmark list, in parts of the picture.

    Reading 936 numbers one by one takes as long as the network's first layers, so the message is read as
    the array it is.
    """
    raw = landmarks.SerializeToString()
    if len(raw) == N_LANDMARKS * LANDMARK_BYTES:
        fields = np.frombuffer(raw, np.uint8).reshape(N_LANDMARKS, LANDMARK_BYTES)
        x, y = (np.ascontiguousarray(fields[:, k : k + 4]).view("<f4") for k in (3, 8))
        return np.concatenate([x, y], 1).astype(np.float64)
    return np.array([(p.x, p.y) for p in landmarks.landmark[:N_LANDMARKS]], dtype=np.float64)


def _detector(model: int) -> Any:
    """mediapipe's face detection: 0 is the short-range network, 1 the full-range one."""
    require_mediapipe()
    with quiet_stderr():
        from mediapipe.python.solutions.face_detection import FaceDetection

        detector = FaceDetection(min_detection_confidence=MIN_CONFIDENCE, model_selection=model)
        detector.process(np.zeros((8, 8, 3), np.uint8))  # says what it has to say while nobody listens
        return detector


def _shrunk(frame: np.ndarray) -> np.ndarray:
    """At most 640 pixels wide and high."""
    import cv2

    height, width = frame.shape[:2]
    shrink = DETECTOR_SIDE / max(height, width)
    if shrink >= 1:
        return np.ascontiguousarray(frame)
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def _boxes(detector: Any, frame: np.ndarray) -> list[FaceBox]:
    """What a detector finds in (H, W, 3) uint8."""
    height, width = frame.shape[:2]
    found = detector.process(_shrunk(frame)).detections or []
    return [_detected_box(detection.location_data, width, height) for detection in found]


def _detected_box(location: Any, width: int, height: int) -> FaceBox:
    """The detector's box and eyes as the square the mesh wants."""
    box, (right, left) = location.relative_bounding_box, location.relative_keypoints[:2]
    angle = float(np.arctan2((left.y - right.y) * height, (left.x - right.x) * width))
    x, y = (box.xmin + box.width / 2) * width, (box.ymin + box.height / 2) * height
    return FaceBox(x - 0.5, y - 0.5, FACE_MARGIN * max(box.width * width, box.height * height), angle)


def require_mediapipe() -> None:
    """One line that says what to install, where mediapipe cannot be imported."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    try:
        import mediapipe  # noqa: F401
    except ImportError as error:
        raise MediaError(missing_library(error)) from None


def missing_library(error: ImportError) -> str:
    """An import error in one line that names what to install."""
    text = str(error)
    packages = {
        "libGL.so": "libgl1",
        "libgthread": "libglib2.0-0",
        "libglib": "libglib2.0-0",
        "libEGL": "libegl1",
        "libGLESv2": "libgles2",
        "libxcb": "libxcb1",
    }
    for library, package in packages.items():
        if library in text:
            return (
                f"the system library {library.removesuffix('.so')} is missing; "
                f"on Debian and Ubuntu: apt-get install {package}"
            )
    return f"mediapipe cannot be imported ({text}); pip install mediapipe==0.10.21 (Python up to 3.12)"


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Nothing reaches stderr: mediapipe's C++ writes start-up notes there that no setting turns off."""
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
