"""Landmarks -> the mouth, 96x96 gray, in AV-HuBERT's geometry (Shi et al. 2022, section 4.1).

Scale and rotation come from the similarity of 5 stable points onto the mean face, averaged over
neighbouring frames (`smoothing`); the centre is the frame's own lips. So public AV-HuBERT weights see
what they were trained on. One warp straight from the frame; gray is made from the small patch. Also the
whole way from a file, `load_roi`.
"""

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np

from lip2speech.video.face_report import FaceReport
from lip2speech.video.landmarks import track_faces
from lip2speech.video.landmarks.geometry import MEAN_STABLE, STABLE, fit_similarity
from lip2speech.video.landmarks.tracker import FaceModel, Tracked
from lip2speech.video.reader import read_frames
from lip2speech.video.smoothing import SMOOTH, CropPlacement, measure, place, smooth

CROP = 96
CENTRE = 48  # AV-HuBERT cuts rows centre-48 .. centre+47
# What a crop shows when there is nothing to cut: the mean that `frontend.transforms` subtracts, so zero for
# the model.
BLANK = 107


def load_roi(
    path: str | os.PathLike, faces: FaceModel | None = None, *, first: int = 0, last: int | None = None
) -> tuple[np.ndarray, FaceReport]:
    """Mouth crops of a video, (T, 96, 96) uint8 at 25 per second, and the report. MediaError, NoFaceError.

    Who has many short clips passes the same `faces` (`load_faces()`) to each: building the networks
    takes 40 ms.

    Args:
        first, last: only frames first .. last - 1, as if they were the whole video.
    """
    with read_frames(path) as frames:
        crops = crop_mouths(track_faces(islice(frames, first, last), faces))
        crops.report.name, crops.report.read = frames.report.name, frames.report
        return np.stack([crop.pixels for crop in crops]), crops.report


class MouthCrop(NamedTuple):
    """The mouth in one video frame.

    Attributes:
        pixels: (96, 96) uint8.
        source: where its place comes from, see `CropPlacement`.
    """

    pixels: np.ndarray
    source: str

    @property
    def detected(self) -> bool:
        """Whether a face was detected in this very frame."""
        return self.source == "found"

    @property
    def visible(self) -> bool:
        """Whether the crop shows the mouth: detected, or interpolated over a short segment without a face."""
        return self.source in ("found", "interpolated")


def crop_mouths(tracked: Iterable[Tracked]) -> "MouthCropper":
    """Mouth crops, one for each frame, smoothed symmetrically: an iterator with `.report`.

    It looks ahead by 18 frames at most. NoFaceError comes at the end, when the whole video has been read.
    """
    return MouthCropper(tracked)


class MouthCropper:
    """Iterator of `MouthCrop` with `.report`; ends with NoFaceError if faces were detected too rarely."""

    def __init__(self, tracked: Iterable[Tracked]) -> None:
        read = getattr(tracked, "report", None)
        self.report = FaceReport(name=read.name if read else "", read=read)
        self._crops = self._crop(tracked)

    def __iter__(self) -> "MouthCropper":
        return self

    def __next__(self) -> MouthCrop:
        return next(self._crops)

    def _crop(self, tracked: Iterable[Tracked]) -> Iterator[MouthCrop]:
        for placed, transform in smooth(place(tracked)):
            self.report.count(placed)
            yield MouthCrop(crop_placed(placed, transform), placed.source)
        self.report.check()


def warp_mouth(frame: np.ndarray, lips: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """(96, 96) uint8 gray with the lips in the middle.

    Args:
        frame: (H, W, 3) uint8.
        lips: (2,) their centre in the frame.
        transform: (2, 2) rotation and scale from the frame to the crop.
    """
    import cv2

    shrink = int(1 / max(math.hypot(*transform[0]), 1e-6))
    if shrink >= 2:
        # Below half size a linear warp skips pixels, and what it skips flickers.
        height, width = (end // shrink for end in frame.shape[:2])
        frame = cv2.resize(
            frame[: height * shrink, : width * shrink], (width, height), interpolation=cv2.INTER_AREA
        )
        lips, transform = (lips + 0.5) / shrink - 0.5, transform * shrink
    shift = CENTRE - transform @ lips
    matrix = np.column_stack([transform, shift])
    patch = cv2.warpAffine(frame, matrix, (CROP, CROP), flags=cv2.INTER_LINEAR)
    return cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY)


@dataclass(frozen=True)
class CropState:
    """What a causal crop remembers: shapes (n, 5, 2) of the last frames, the last place of the lips (2,)."""

    shapes: np.ndarray
    lips: np.ndarray | None = None


class CausalCropper:
    """Crops without looking ahead, for live video: the mean shape is that of the frames so far, at most 13.

    Scale and angle lag a turning head by a quarter of a second; the centre does not lag.
    """

    def start(self) -> CropState:
        """The state before the first frame."""
        return CropState(np.zeros((0, len(STABLE), 2)))

    def step(self, tracked: Tracked, state: CropState) -> tuple[np.ndarray, CropState]:
        """One frame -> its crop (96, 96) uint8, and the next state. Without a face the last place is held."""
        if tracked.cut:
            state = self.start()
        now = measure(tracked)
        if now.mouth is not None:
            shapes = np.concatenate([state.shapes, now.mouth.shape[None]])[-(2 * SMOOTH + 1) :]
            state = CropState(shapes, now.mouth.lips)
        if state.lips is None:
            return blank(), state
        transform = fit_similarity(state.shapes.mean(0), MEAN_STABLE)
        return warp_mouth(tracked.frame, state.lips, transform), state


def blank() -> np.ndarray:
    """(96, 96) uint8: a crop that shows nothing."""
    return np.full((CROP, CROP), BLANK, np.uint8)


def crop_placed(placed: CropPlacement, transform: np.ndarray | None) -> np.ndarray:
    """One smoothed frame -> (96, 96) uint8."""
    if transform is None or placed.mouth is None:
        return blank()
    return warp_mouth(placed.frame, placed.mouth.lips - placed.corner, transform)
