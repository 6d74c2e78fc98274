"""FaceModel with the networks inside mediapipe's wheel (0.10.21 is the last that has them): no downloads.

The landmark network (Kartynnik et al. 2019, "Real-time facial surface geometry from monocular video on mobile
GPUs") runs in a minimal graph without mediapipe's own detector and tracking, which follow an arbitrary face,
skew tilted faces in frames that are not square, and take a third of the time. Detection is BlazeFace
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
from numpy.typing import NDArray

from lip2speech.video.errors import MediaError
from lip2speech.video.landmarks.geometry import FACE_MARGIN, N_LANDMARKS, FaceBox, crop_window

LANDMARK_MODEL = "mediapipe/modules/face_landmark/face_landmark.tflite"  # inside the wheel
INPUT_SIZE = 192  # pixels of the network's input, and the unit of its landmarks
# Image and box -> the network's outputs: 468 times x, y, z, and the face's logit. The executor runs the nodes
# in the caller's thread.
LANDMARK_GRAPH = f"""
input_stream: "image"
input_stream: "box"
output_stream: "landmarks"
output_stream: "score"
executor {{ name: "" type: "ApplicationThreadExecutor" }}
node {{
  calculator: "ImageToTensorCalculator"
  input_stream: "IMAGE:image"
  input_stream: "NORM_RECT:box"
  output_stream: "TENSORS:pixels"
  options {{
    [mediapipe.ImageToTensorCalculatorOptions.ext] {{
      output_tensor_width: {INPUT_SIZE}
      output_tensor_height: {INPUT_SIZE}
      output_tensor_float_range {{ min: 0 max: 1 }}
    }}
  }}
}}
node {{
  calculator: "InferenceCalculator"
  input_stream: "TENSORS:pixels"
  output_stream: "TENSORS:outputs"
  options {{
    [mediapipe.InferenceCalculatorOptions.ext] {{
      model_path: "{LANDMARK_MODEL}"
      delegate {{ xnnpack {{ num_threads: 1 }} }}
    }}
  }}
}}
node {{
  calculator: "SplitTensorVectorCalculator"
  input_stream: "outputs"
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
  output_stream: "FLOATS:landmarks"
}}
node {{
  calculator: "TensorsToFloatsCalculator"
  input_stream: "TENSORS:second"
  output_stream: "FLOAT:score"
}}
"""
DETECTOR_SIZE = 640  # the detectors' input is 128 or 192 pixels; larger frames are downscaled first
MIN_CONFIDENCE = 0.5
DETECTOR_MODULE = "mediapipe.python.solutions.face_detection"  # removed in 0.10.30
# Shared library that OpenCV and mediapipe need -> the Debian package that provides it.
SYSTEM_LIBRARIES = {
    "libGLES": "libgles2",
    "libGL": "libgl1",
    "libgthread": "libglib2.0-0",
    "libglib": "libglib2.0-0",
    "libEGL": "libegl1",
    "libxcb": "libxcb1",
}
REFINE_MARGIN = 1.33  # of the box, which is 1.5 times the face: twice the face


_THREAD = threading.local()


def thread_face_model() -> "MediaPipeFaceModel":
    """The face model of this thread; building it takes 0.1 s, and it keeps no state between frames."""
    if (
        getattr(_THREAD, "process", None) != os.getpid()
    ):  # a fork copies the memory, but not the worker threads
        _THREAD.process, _THREAD.face_model = os.getpid(), MediaPipeFaceModel()
    model: MediaPipeFaceModel = _THREAD.face_model
    return model


class MediaPipeFaceModel:
    """`FaceModel` of mediapipe's bundled networks; each is loaded on first use, or by `warm_up`."""

    def warm_up(self) -> None:
        """Load all networks now, so that the first frame takes no longer than others."""
        for network in (self._landmark_graph, self._full_range, self._short_range):
            assert network is not None, "a network that cannot be loaded raises"

    def landmarks(self, frame: NDArray[Any], box: FaceBox) -> NDArray[Any] | None:
        """Landmarks (468, 2) float32, in pixels, of the face in a box of (H, W, 3) uint8; None if none."""
        return self._landmark_graph(frame, box)

    def detect(self, frame: NDArray[Any]) -> list[FaceBox]:
        """Boxes of all faces in (H, W, 3) uint8, largest first.

        The full-range network finds small faces, the short-range one those that are too close for it.
        """
        boxes = _detect_boxes(self._full_range, frame) or _detect_boxes(self._short_range, frame)
        return sorted((self._refine(frame, box) for box in boxes), key=lambda box: -box.size)

    def _refine(self, frame: NDArray[Any], box: FaceBox) -> FaceBox:
        """A second detection close up: the full-range box of a small face is up to twice too large."""
        window, left, top = crop_window(frame, FaceBox(box.x, box.y, REFINE_MARGIN * box.size))
        boxes = [
            FaceBox(found.x + left, found.y + top, found.size, found.angle)
            for found in _detect_boxes(self._short_range, window)
        ]
        return min(boxes, key=lambda found: abs(found.x - box.x) + abs(found.y - box.y), default=box)

    @cached_property
    def _landmark_graph(self) -> "LandmarkGraph":
        return LandmarkGraph()

    @cached_property
    def _full_range(self) -> Any:
        return _load_detector(1)

    @cached_property
    def _short_range(self) -> Any:
        return _load_detector(0)


class LandmarkGraph:
    """The landmark network alone, in a mediapipe graph."""

    def __init__(self) -> None:
        require_mediapipe(DETECTOR_MODULE)
        with quiet_stderr():
            import mediapipe
            from google.protobuf import text_format
            from mediapipe.calculators.core import split_vector_calculator_pb2  # noqa: F401  registers options
            from mediapipe.calculators.tensor import (
                image_to_tensor_calculator_pb2,  # noqa: F401
                inference_calculator_pb2,  # noqa: F401
            )
            from mediapipe.framework import calculator_pb2
            from mediapipe.framework.formats import rect_pb2
            from mediapipe.python import packet_creator, packet_getter
            from mediapipe.python._framework_bindings import calculator_graph, image_frame, resource_util

            resource_util.set_resource_dir(str(Path(mediapipe.__file__).parents[1]))
            config = text_format.Parse(LANDMARK_GRAPH, calculator_pb2.CalculatorGraphConfig())
            self._graph = calculator_graph.CalculatorGraph(graph_config=config)
            self._outputs: dict[str, Any] = {}
            # The graph never releases its observers: a reference to `self` would keep 29 MB alive for ever.
            outputs = self._outputs
            read = {"landmarks": packet_getter.get_float_list, "score": packet_getter.get_float}
            for stream in read:
                self._graph.observe_output_stream(
                    stream, lambda name, packet: outputs.update({name: read[name](packet)})
                )
            self._graph.start_run({})
            self._packets = packet_creator
            self._rgb, self._rect = image_frame.ImageFormat.SRGB, rect_pb2.NormalizedRect
            self._time = 0
            self(np.zeros((8, 8, 3), np.uint8), FaceBox(3.5, 3.5, 8))  # prints its start-up notes, unseen

    def __call__(self, frame: NDArray[Any], box: FaceBox) -> NDArray[Any] | None:
        """frame (H, W, 3) uint8 and a box in it -> landmarks (468, 2) float32 pixels; None: no face there."""
        window, left, top = crop_window(frame, box)
        side = len(window)
        x, y, size = (box.x + 0.5 - left) / side, (box.y + 0.5 - top) / side, box.size / side
        self._run(window, self._rect(x_center=x, y_center=y, width=size, height=size, rotation=box.angle))
        if self._outputs["score"] < 0:  # a logit
            return None
        points = np.array(self._outputs["landmarks"]).reshape(N_LANDMARKS, 3)[:, :2] / INPUT_SIZE - 0.5
        cos, sin = box.size * math.cos(box.angle), box.size * math.sin(box.angle)
        landmarks: NDArray[Any] = points @ np.array([(cos, sin), (-sin, cos)]) + (box.x, box.y)
        return landmarks.astype(np.float32)

    def _run(self, window: NDArray[Any], rect: Any) -> None:
        """Update the outputs for one image."""
        self._time += 1
        window.flags.writeable = False  # a read-only image is not copied
        image = self._packets.create_image_frame(data=window, image_format=self._rgb)
        self._graph.add_packet_to_input_stream("image", image.at(self._time))
        self._graph.add_packet_to_input_stream("box", self._packets.create_proto(rect).at(self._time))
        self._graph.wait_until_idle()


def _load_detector(model: int) -> Any:
    """mediapipe's face detection: 0 is the short-range network, 1 the full-range one."""
    require_mediapipe(DETECTOR_MODULE)
    with quiet_stderr():
        from mediapipe.python.solutions.face_detection import FaceDetection

        detector = FaceDetection(min_detection_confidence=MIN_CONFIDENCE, model_selection=model)
        detector.process(np.zeros((8, 8, 3), np.uint8))  # prints its start-up notes, unseen
        return detector


def _downscale(frame: NDArray[Any]) -> NDArray[Any]:
    """At most 640 pixels wide and high."""
    import cv2

    height, width = frame.shape[:2]
    scale = DETECTOR_SIZE / max(height, width)
    if scale >= 1:
        return np.ascontiguousarray(frame)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def _detect_boxes(detector: Any, frame: NDArray[Any]) -> list[FaceBox]:
    """Boxes of the faces that a detector finds in (H, W, 3) uint8."""
    height, width = frame.shape[:2]
    detections = detector.process(_downscale(frame)).detections or []
    return [_to_box(detection.location_data, width, height) for detection in detections]


def _to_box(location: Any, width: int, height: int) -> FaceBox:
    """A detection's box and eyes as the box for the landmark network."""
    box, (right, left) = location.relative_bounding_box, location.relative_keypoints[:2]
    angle = float(np.arctan2((left.y - right.y) * height, (left.x - right.x) * width))
    x, y = (box.xmin + box.width / 2) * width, (box.ymin + box.height / 2) * height
    return FaceBox(x - 0.5, y - 0.5, FACE_MARGIN * max(box.width * width, box.height * height), angle)


def require_mediapipe(module: str = "mediapipe") -> None:
    """Raise MediaError with what to install if a module of mediapipe cannot be imported."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    try:
        for name in ("mediapipe", module):
            importlib.import_module(name)
    except ImportError as error:
        raise MediaError(installation_hint(error)) from None


def installation_hint(error: ImportError) -> str:
    """An import error in one line that names what to install."""
    text = str(error)
    for library, package in SYSTEM_LIBRARIES.items():
        if library in text:
            return f"the system library {library} is missing; on Debian and Ubuntu: apt-get install {package}"
    hint = "pip install mediapipe==0.10.21, or pass a face_landmarker.task to a newer version"
    return f"no face networks: {text}; {hint}"


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Suppress stderr: mediapipe's C++ code prints start-up notes that no setting turns off."""
    sys.stderr.flush()  # pending Python output still appears
    saved, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(devnull)
