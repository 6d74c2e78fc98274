"""Landmarks -> mouth crops, 96x96 grayscale, in AV-HuBERT's geometry (Shi et al. 2022, section 4.1).

Scale and rotation come from the similarity transform of 5 stable points onto the mean face, smoothed over
neighboring frames (`smoothing`); the center is that of each frame's own lips. So public AV-HuBERT weights get
the input they were trained on. Each crop is one warp straight from the frame, converted to gray afterwards.
`load_roi` does everything from the file on.
"""

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lip2speech.video.face_report import CropSource, FaceReport
from lip2speech.video.landmarks.detect import track_faces
from lip2speech.video.landmarks.face_model import FaceModel
from lip2speech.video.landmarks.geometry import MEAN_STABLE_POINTS, STABLE_POINTS, fit_similarity
from lip2speech.video.landmarks.tracker import TrackedFrame
from lip2speech.video.reader import ReadReport, read_frames
from lip2speech.video.smoothing import (
    SMOOTHING_RADIUS,
    CropPlacement,
    locate_mouth,
    place_crops,
    smooth_placements,
)

CROP_SIZE = 96
CROP_CENTER = 48  # AV-HuBERT takes rows center - 48 .. center + 47
BLANK_VALUE = 107
"""Gray value of a blank crop: the mean that `frontends.transforms` subtracts, so zero for the model."""


def load_roi(
    path: str | os.PathLike[str],
    face_model: FaceModel | None = None,
    *,
    first: int = 0,
    last: int | None = None,
) -> tuple[NDArray[Any], FaceReport]:
    """Mouth crops of a video, (T, 96, 96) uint8 at 25 fps, and the face report.

    Args:
        path: the video file.
        face_model: for many short clips, pass the same one (`load_face_model()`) each time: building the
            networks takes 40 ms.
        first: first frame to use.
        last: one past the last frame to use; the rest is ignored as if it were not in the file.

    Raises:
        MediaError: the file cannot be read.
        NoFaceError: fewer than half of the frames show a face.
    """
    with read_frames(path) as frames:
        crops = crop_mouths(track_faces(islice(frames, first, last), face_model))
        crops.report.name, crops.report.video = frames.report.name, frames.report
        return np.stack([crop.pixels for crop in crops]), crops.report


class MouthCrop(NamedTuple):
    """The mouth in one video frame.

    Attributes:
        pixels: (96, 96) uint8.
        source: where the position of the crop comes from.
    """

    pixels: NDArray[Any]
    source: CropSource

    @property
    def detected(self) -> bool:
        """Whether a face was detected in this frame."""
        return self.source == "detected"

    @property
    def visible(self) -> bool:
        """Whether the crop shows the mouth: detected, or interpolated over a short no-face segment."""
        return self.source in ("detected", "interpolated")


def crop_mouths(tracked: Iterable[TrackedFrame]) -> "MouthCropper":
    """Smoothed mouth crops, one per frame: an iterator with `.report`.

    It reads at most 18 frames ahead.

    Raises:
        NoFaceError: at the end, if fewer than half of the frames show a face.
    """
    return MouthCropper(tracked)


class MouthCropper:
    """Iterator of `MouthCrop` with a running `.report`; see `crop_mouths`."""

    def __init__(self, tracked: Iterable[TrackedFrame]) -> None:
        video: ReadReport | None = getattr(tracked, "report", None)
        self.report = FaceReport(name=video.name if video else "", video=video)
        self._crops = self._crop(tracked)

    def __iter__(self) -> "MouthCropper":
        return self

    def __next__(self) -> MouthCrop:
        return next(self._crops)

    def _crop(self, tracked: Iterable[TrackedFrame]) -> Iterator[MouthCrop]:
        for placement, transform in smooth_placements(place_crops(tracked)):
            self.report.add(placement.source, cut=placement.cut)
            yield MouthCrop(warp_placement(placement, transform), placement.source)
        self.report.require_faces()


def warp_mouth(frame: NDArray[Any], center: NDArray[Any], transform: NDArray[Any]) -> NDArray[Any]:
    """(96, 96) uint8 grayscale, centered on the lips.

    Args:
        frame: (H, W, 3) uint8.
        center: (2,) center of the lips in the frame.
        transform: (2, 2) rotation and scale from the frame to the crop.
    """
    import cv2

    factor = int(1 / max(math.hypot(*transform[0]), 1e-6))
    if factor >= 2:
        # Below half size a linear warp skips pixels, which makes the crop flicker.
        height, width = (size // factor for size in frame.shape[:2])
        frame = cv2.resize(
            frame[: height * factor, : width * factor], (width, height), interpolation=cv2.INTER_AREA
        )
        center, transform = (center + 0.5) / factor - 0.5, transform * factor
    shift = CROP_CENTER - transform @ center
    matrix = np.column_stack([transform, shift])
    patch = cv2.warpAffine(frame, matrix, (CROP_SIZE, CROP_SIZE), flags=cv2.INTER_LINEAR)
    return cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY)


@dataclass(frozen=True)
class CropState:
    """State of a causal cropper: shapes (n, 5, 2) of the last frames, last center of the lips (2,)."""

    shapes: NDArray[Any]
    center: NDArray[Any] | None = None


class CausalCropper:
    """Crops without lookahead, for live video: the shape is averaged over the past, at most 13 frames.

    On a turning head, scale and angle are a quarter of a second late; the center is not.
    """

    def start(self) -> CropState:
        """The state before the first frame."""
        return CropState(np.zeros((0, len(STABLE_POINTS), 2)))

    def step(self, tracked: TrackedFrame, state: CropState) -> tuple[NDArray[Any], CropState]:
        """One frame -> its crop (96, 96) uint8, and the next state. Without a face the crop stays put."""
        if tracked.cut:
            state = self.start()
        mouth = locate_mouth(tracked).mouth
        if mouth is not None:
            shapes = np.concatenate([state.shapes, mouth.shape[None]])[-(2 * SMOOTHING_RADIUS + 1) :]
            state = CropState(shapes, mouth.center)
        if state.center is None:
            return blank_crop(), state
        transform = fit_similarity(state.shapes.mean(0), MEAN_STABLE_POINTS)
        return warp_mouth(tracked.frame, state.center, transform), state


def blank_crop() -> NDArray[Any]:
    """(96, 96) uint8: a uniform crop, for frames without any mouth position."""
    return np.full((CROP_SIZE, CROP_SIZE), BLANK_VALUE, np.uint8)


def warp_placement(placement: CropPlacement, transform: NDArray[Any] | None) -> NDArray[Any]:
    """The crop (96, 96) uint8 of a placement and its smoothed transform."""
    if transform is None or placement.mouth is None:
        return blank_crop()
    return warp_mouth(placement.frame, placement.mouth.center - placement.origin, transform)
