"""The face networks inside mediapipe's wheel (0.10.21 is the last that has them), so nothing is ever fetched.

The mesh network (Kartynnik et al. 2019, "Real-time facial surface geometry from monocular video on mobile
GPUs") runs in a graph of our own, without mediapipe's detector and tracking: those follow whichever face they
like, skew tilted faces in frames that are not square, and take a third of the time. Detection: BlazeFace
(Bazarevsky et al. 2019).
"""

import contextlib
import importlib
import math
import os
import sys
import threading
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lip2speech.video.errors import MediaError
from lip2speech.video.landmarks.geometry import FACE_MARGIN, N_LANDMARKS, FaceBox, cut_window

MESH_MODEL = "mediapipe/modules/face_landmark/face_landmark.tflite"  # inside the wheel
MESH_SIDE = 192  # pixels of the network's input, the unit of its points as well
# From a picture and a square in it to the network's own numbers: 468 times x, y, z, and the face's logit.
# The executor runs the nodes in the caller's thread.
MESH_GRAPH = f"""
input_stream: "image"
input_stream: "square"
output_stream: "points"
output_stream: "score"
executor {{ name: "" type: "ApplicationThreadExecutor" }}
node {{
  calculator: "ImageToTensorCalculator"
  input_stream: "IMAGE:image"
  input_stream: "NORM_RECT:square"
  output_stream: "TENSORS:pixels"
  options {{
    [mediapipe.ImageToTensorCalculatorOptions.ext] {{
      output_tensor_width: {MESH_SIDE}
      output_tensor_height: {MESH_SIDE}
      output_tensor_float_range {{ min: 0 max: 1 }}
    }}
  }}
}}
node {{
  calculator: "InferenceCalculator"
  input_stream: "TENSORS:pixels"
  output_stream: "TENSORS:answer"
  options {{
    [mediapipe.InferenceCalculatorOptions.ext] {{
      model_path: "{MESH_MODEL}"
      delegate {{ xnnpack {{ num_threads: 1 }} }}
    }}
  }}
}}
node {{
  calculator: "SplitTensorVectorCalculator"
  input_stream: "answer"
  output_stream: "first"
  output_stream: "second"
  options {{
    [mediapipe.SplitVectorCalculatorOptions.ext] {{
      ranges {{ begin: 0 end: 1 }}
      ranges {{ begin: 1 end: 2 }}
    }}
  }}
}}
node {{
  calculator: "TensorsToFloatsCalculator"
  input_stream: "TENSORS:first"
  output_stream: "FLOATS:points"
}}
node {{
  calculator: "TensorsToFloatsCalculator"
  input_stream: "TENSORS:second"
  output_stream: "FLOAT:score"
}}
"""
DETECTOR_SIDE = 640  # the detectors look at 128 and 192 pixels; a larger frame is only copied for nothing
MIN_CONFIDENCE = 0.5
WHEEL_NETWORKS = "mediapipe.python.solutions.face_detection"  # gone from 0.10.30 on
# What OpenCV and mediapipe need of the system, and the Debian package it comes in.
SYSTEM_LIBRARIES = {
    "libGLES": "libgles2",
    "libGL": "libgl1",
    "libgthread": "libglib2.0-0",
    "libglib": "libglib2.0-0",
    "libEGL": "libegl1",
    "libxcb": "libxcb1",
}
LOOK_AGAIN = 1.33  # of the mesh's square, which is 1.5 times the face: twice the face


_THREAD = threading.local()


def thread_faces() -> "MediaPipeFaces":
    """The networks of this thread: they remember nothing between frames and take 0.1 s to build."""
    if getattr(_THREAD, "process", None) != os.getpid():  # a fork has the memory, but not the workers
        _THREAD.process, _THREAD.faces = os.getpid(), MediaPipeFaces()
    return _THREAD.faces


class MediaPipeFaces:
    """Mesh and detector; each network is built when it is first needed, or all by `get_ready`."""

    def get_ready(self) -> None:
        """Build all networks now, so that the first frame takes no longer than others."""
        for network in (self._mesh, self._full_range, self._short_range):
            assert network is not None, "a network that cannot be built raises"

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
        require_mediapipe(WHEEL_NETWORKS)
        with quiet_stderr():
            import mediapipe
            from google.protobuf import text_format
            from mediapipe.calculators.core import split_vector_calculator_pb2  # noqa: F401  names options
            from mediapipe.calculators.tensor import (
                image_to_tensor_calculator_pb2,  # noqa: F401
                inference_calculator_pb2,  # noqa: F401
            )
            from mediapipe.framework import calculator_pb2
            from mediapipe.framework.formats import rect_pb2
            from mediapipe.python import packet_creator, packet_getter
            from mediapipe.python._framework_bindings import calculator_graph, image_frame, resource_util

            resource_util.set_resource_dir(str(Path(mediapipe.__file__).parents[1]))
            config = text_format.Parse(MESH_GRAPH, calculator_pb2.CalculatorGraphConfig())
            self._graph = calculator_graph.CalculatorGraph(graph_config=config)
            self._answer: dict[str, Any] = {}
            # The graph never lets go of its observers: one that knew `self` would keep 29 MB alive for ever.
            answer = self._answer
            read = {"points": packet_getter.get_float_list, "score": packet_getter.get_float}
            for stream in read:
                self._graph.observe_output_stream(
                    stream, lambda name, packet: answer.update({name: read[name](packet)})
                )
            self._graph.start_run({})
            self._create = packet_creator
            self._rgb, self._rect = image_frame.ImageFormat.SRGB, rect_pb2.NormalizedRect
            self._time = 0
            self(np.zeros((8, 8, 3), np.uint8), FaceBox(3.5, 3.5, 8))  # what it has to say, it says now

    def __call__(self, frame: np.ndarray, box: FaceBox) -> np.ndarray | None:
        """frame (H, W, 3) uint8 and a square in it -> (468, 2) float32 pixels; None: no face there."""
        window, left, top = cut_window(frame, box)
        side = len(window)
        x, y, size = (box.x + 0.5 - left) / side, (box.y + 0.5 - top) / side, box.size / side
        self._run(window, self._rect(x_center=x, y_center=y, width=size, height=size, rotation=box.angle))
        if self._answer["score"] < 0:  # the logit of its being a face
            return None
        points = np.array(self._answer["points"]).reshape(N_LANDMARKS, 3)[:, :2] / MESH_SIDE - 0.5
        cos, sin = box.size * math.cos(box.angle), box.size * math.sin(box.angle)
        return (points @ np.array([(cos, sin), (-sin, cos)]) + (box.x, box.y)).astype(np.float32)

    def _run(self, window: np.ndarray, square: Any) -> None:
        """Fill in the answer for one picture."""
        self._time += 1
        window.flags.writeable = False  # a picture that cannot change is not copied
        image = self._create.create_image_frame(data=window, image_format=self._rgb)
        self._graph.add_packet_to_input_stream("image", image.at(self._time))
        self._graph.add_packet_to_input_stream("square", self._create.create_proto(square).at(self._time))
        self._graph.wait_until_idle()


def _detector(model: int) -> Any:
    """mediapipe's face detection: 0 is the short-range network, 1 the full-range one."""
    require_mediapipe(WHEEL_NETWORKS)
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


def require_mediapipe(part: str = "mediapipe") -> None:
    """One line that says what to install, where a part of mediapipe cannot be imported."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    try:
        for name in ("mediapipe", part):
            importlib.import_module(name)
    except ImportError as error:
        raise MediaError(missing_library(error)) from None


def missing_library(error: ImportError) -> str:
    """An import error in one line that names what to install."""
    text = str(error)
    for library, package in SYSTEM_LIBRARIES.items():
        if library in text:
            return f"the system library {library} is missing; on Debian and Ubuntu: apt-get install {package}"
    advice = "pip install mediapipe==0.10.21, or give a newer one a face_landmarker.task"
    return f"no face networks: {text}; {advice}"


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Nothing reaches stderr: mediapipe's C++ writes start-up notes there that no setting turns off."""
    sys.stderr.flush()  # what Python has to say still gets out
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
