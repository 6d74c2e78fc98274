"""A mouth position for every frame: short no-face segments interpolated, long ones held, poses smoothed.

    frames                  ... t-6 ............ t ............ t+6 ... t+18
    scale, angle                |<-- mean of the mouth shapes -->|
    no-face segments of up to 12 frames are interpolated, so a frame waits for at most 18 others

A shape is the 5 stable points relative to the lips. A steady head movement does not change it, so averaging
shapes stabilizes scale and angle without the crop lagging behind the mouth. Nothing is averaged across a cut.
"""

import math
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lip2speech.video.face_report import CropSource
from lip2speech.video.landmarks.geometry import (
    MEAN_STABLE_POINTS,
    STABLE_POINTS,
    fit_similarity,
    lip_center,
)
from lip2speech.video.landmarks.tracker import TrackedFrame

SMOOTHING_RADIUS = 6  # frames on either side; AV-HuBERT's window is 12 frames
MAX_INTERPOLATED_FRAMES = 12  # 0.5 s
# In eye distances: a crop of 96 reaches 68 from its center at 45 degrees, for an eye distance of 74.
REGION_RADIUS = 1.1
MAX_LIP_SHIFT = 0.5  # in eye distances: lips closer than this before and after belong to one face


class MouthPose(NamedTuple):
    """(5, 2) stable points relative to the center of the lips, and that center (2,) in the frame."""

    shape: NDArray[Any]
    center: NDArray[Any]


@dataclass(frozen=True)
class CropPlacement:
    """A frame with the pose of its mouth, measured or inferred.

    Attributes:
        frame: the region round the mouth, or the whole frame.
        origin: left and top of `frame` in the whole frame.
        mouth: None where the scene has shown no face yet.
        source: where the pose comes from.
        cut: as in `TrackedFrame`.
    """

    frame: NDArray[Any]
    origin: tuple[int, int]
    mouth: MouthPose | None
    source: CropSource
    cut: bool


def locate_mouth(item: TrackedFrame) -> CropPlacement:
    """The mouth pose of one tracked frame, with the region round the mouth."""
    if item.landmarks is None:
        return CropPlacement(item.frame, (0, 0), None, "blank", item.cut)
    landmarks = item.landmarks.astype(np.float64)
    center = lip_center(landmarks)
    mouth = MouthPose(landmarks[STABLE_POINTS] - center, center)
    frame, origin = copy_mouth_region(item.frame, mouth)
    return CropPlacement(frame, origin, mouth, "detected", item.cut)


def copy_mouth_region(frame: NDArray[Any], mouth: MouthPose) -> tuple[NDArray[Any], tuple[int, int]]:
    """The region of (H, W, 3) a crop can need, copied, with its left and top: buffered frames stay small."""
    down = math.dist(mouth.shape[1:].sum(0) / 4, mouth.shape[0])
    reach = REGION_RADIUS * max(_eye_distance(mouth), down) + 2
    height, width = frame.shape[:2]
    x, y = mouth.center.tolist()
    left, top = int(min(max(x - reach, 0), width - 1)), int(min(max(y - reach, 0), height - 1))
    right, bottom = int(min(max(x + reach, left + 1), width)), int(min(max(y + reach, top + 1), height))
    return frame[top:bottom, left:right].copy(), (left, top)


def place_crops(tracked: Iterable[TrackedFrame]) -> Iterator[CropPlacement]:
    """A mouth pose for every frame: interpolated over short no-face segments, held over long ones."""
    pending: list[CropPlacement] = []  # frames without a face, as long as the segment may turn out short
    last: MouthPose | None = None  # last known pose in this scene
    is_long = False
    for item in tracked:
        placement = locate_mouth(item)
        if placement.mouth is not None:
            yield from _interpolate(pending, last, placement, placement.mouth)
            yield placement
            pending, last, is_long = [], placement.mouth, False
            continue
        pending.append(placement)
        is_long = is_long or len(pending) > MAX_INTERPOLATED_FRAMES
        if is_long:
            last = yield from _hold(pending, last)
            pending = []
    yield from _hold(pending, last)


def smooth_placements(
    placements: Iterable[CropPlacement],
) -> Iterator[tuple[CropPlacement, NDArray[Any] | None]]:
    """Each placement with its (2, 2) rotation and scale onto the mean face, from its neighbors' mean shape.

    The window is symmetric and shrinks towards the ends of a scene, so a steady movement is not delayed.
    """
    past: deque[NDArray[Any]] = deque(maxlen=SMOOTHING_RADIUS)
    # The placement to be smoothed next, and up to SMOOTHING_RADIUS after it.
    lookahead: deque[tuple[CropPlacement, NDArray[Any]]] = deque()
    for placement in placements:
        if placement.cut or placement.mouth is None:
            while lookahead:
                yield _pop_smoothed(past, lookahead)
            past.clear()
        if placement.mouth is None:
            yield placement, None
            continue
        lookahead.append((placement, placement.mouth.shape))
        if len(lookahead) > SMOOTHING_RADIUS:
            yield _pop_smoothed(past, lookahead)
    while lookahead:
        yield _pop_smoothed(past, lookahead)


def _pop_smoothed(
    past: deque[NDArray[Any]], lookahead: deque[tuple[CropPlacement, NDArray[Any]]]
) -> tuple[CropPlacement, NDArray[Any]]:
    """Remove the first placement from `lookahead` and return it with its transform."""
    radius = min(len(past), len(lookahead) - 1)
    before = list(past)[len(past) - radius :]
    shapes = before + [shape for _, shape in list(lookahead)[: radius + 1]]
    placement, shape = lookahead.popleft()
    past.append(shape)
    return placement, fit_similarity(np.add.reduce(shapes) / len(shapes), MEAN_STABLE_POINTS)


def _interpolate(
    pending: list[CropPlacement], before: MouthPose | None, after: CropPlacement, mouth: MouthPose
) -> Iterator[CropPlacement]:
    """Frames of a short segment, linear between both ends; at a cut, each side keeps its own end."""
    cuts = [k for k, item in enumerate([*pending, after]) if item.cut]
    if cuts and not (before is not None and _is_same_face(before, mouth)):
        yield from _hold(pending[: cuts[-1]], before)
        pending, before = pending[cuts[-1] :], None
    start = before or mouth
    for k, item in enumerate(pending, 1):
        weight = k / (len(pending) + 1)
        pose = MouthPose(*((1 - weight) * a + weight * b for a, b in zip(start, mouth, strict=True)))
        yield replace(item, mouth=pose, source="interpolated")


def _hold(
    pending: list[CropPlacement], last: MouthPose | None
) -> Generator[CropPlacement, None, MouthPose | None]:
    """Frames of a long segment at the last pose, blank in a scene that has none. Returns the last pose."""
    for item in pending:
        last = None if item.cut else last
        yield item if last is None else replace(item, mouth=last, source="held")
    return last


def _is_same_face(before: MouthPose, after: MouthPose) -> bool:
    """Whether two poses belong to one face that was lost in a flash of light, not to two scenes."""
    first, second = _eye_distance(before), _eye_distance(after)
    close = math.dist(before.center, after.center) < MAX_LIP_SHIFT * min(first, second)
    return close and 0.8 < first / second < 1.25


def _eye_distance(mouth: MouthPose) -> float:
    """Distance between the outer eye corners."""
    return math.dist(mouth.shape[1], mouth.shape[4])
