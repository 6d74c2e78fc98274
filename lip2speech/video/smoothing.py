"""A mouth for every frame: short gaps bridged, long ones held, shapes averaged over neighbouring frames.

    frames       ... t-6 ............ t ............ t+6 ... t+18
    scale, angle     |<- mean of the mouths' shapes ->|
    a gap of up to 12 frames is bridged, so a frame waits for 18 others at most

A shape is the 5 stable points relative to the lips: a steady movement of the head does not change it, so
averaging shapes steadies scale and angle without dragging the crop behind the mouth. Nothing is averaged
across a cut. Knows points; of pixels only how to keep no more of them than needed.
"""

import math
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from lip2speech.video.landmarks.geometry import MEAN_STABLE, STABLE, fit_similarity, lip_centre
from lip2speech.video.landmarks.tracker import Tracked

SMOOTH = 6  # frames on either side; AV-HuBERT's own window is 12 frames long
MAX_GAP = 12  # frames without a face that are interpolated: 0.5 s
# A crop of 96 reaches 68 from its centre at 45 degrees, on a face whose eye corners are 74 apart.
KEEP_EYE_WIDTHS = 1.1
SAME_PLACE = 0.5  # of the eye corners' distance: lips closer than this before and after are one face


class MouthPose(NamedTuple):
    """(5, 2) stable points relative to the lips, and (2,) the lips' centre in the picture."""

    shape: np.ndarray
    lips: np.ndarray


@dataclass(frozen=True)
class CropPlacement:
    """A frame with the place of its mouth, measured or not.

    Attributes:
        frame: the part of the picture round the mouth, or all of it.
        corner: left and top of `frame` in the picture.
        mouth: None where no face has been seen in this scene.
        source: "found", "interpolated" (interpolated over a short gap), "held" (long gap, last place) or "blank".
        cut: as in `Tracked`.
    """

    frame: np.ndarray
    corner: tuple[int, int]
    mouth: MouthPose | None
    source: str
    cut: bool


def measure(item: Tracked) -> CropPlacement:
    """A tracked frame as it is, with the part of the picture round its mouth."""
    if item.landmarks is None:
        return CropPlacement(item.frame, (0, 0), None, "blank", item.cut)
    points = item.landmarks.astype(np.float64)
    lips = lip_centre(points)
    mouth = MouthPose(points[STABLE] - lips, lips)
    frame, corner = keep_around(item.frame, mouth)
    return CropPlacement(frame, corner, mouth, "found", item.cut)


def keep_around(frame: np.ndarray, mouth: MouthPose) -> tuple[np.ndarray, tuple[int, int]]:
    """A copy of what a crop can need of (H, W, 3), with its left and top: waiting frames are kept small."""
    down = math.dist(mouth.shape[1:].sum(0) / 4, mouth.shape[0])
    reach = KEEP_EYE_WIDTHS * max(_eye_width(mouth), down) + 2
    height, width = frame.shape[:2]
    x, y = mouth.lips.tolist()
    left, top = int(min(max(x - reach, 0), width - 1)), int(min(max(y - reach, 0), height - 1))
    right, bottom = int(min(max(x + reach, left + 1), width)), int(min(max(y + reach, top + 1), height))
    return frame[top:bottom, left:right].copy(), (left, top)


def place(tracked: Iterable[Tracked]) -> Iterator[CropPlacement]:
    """Give every frame a mouth: short gaps are interpolated, long ones hold the last place."""
    gap: list[CropPlacement] = []  # frames without a face that may yet turn out to be few
    last: MouthPose | None = None  # the last known place in this scene
    long = False
    for item in tracked:
        now = measure(item)
        if now.mouth is not None:
            yield from _fill(gap, last, now, now.mouth)
            yield now
            gap, last, long = [], now.mouth, False
            continue
        gap.append(now)
        long = long or len(gap) > MAX_GAP
        if long:
            last = yield from _hold(gap, last)
            gap = []
    yield from _hold(gap, last)


def smooth(placed: Iterable[CropPlacement]) -> Iterator[tuple[CropPlacement, np.ndarray | None]]:
    """Every frame with its (2, 2) rotation and scale onto the mean face, from its neighbours' mean shape.

    The window is symmetric and shrinks towards the ends of a scene, so that a steady movement is not delayed.
    """
    past: deque[np.ndarray] = deque(maxlen=SMOOTH)
    ahead: deque[tuple[CropPlacement, np.ndarray]] = (
        deque()
    )  # the frame whose turn it is, and up to SMOOTH after it
    for item in placed:
        if item.cut or item.mouth is None:
            while ahead:
                yield _next_smoothed(past, ahead)
            past.clear()
        if item.mouth is None:
            yield item, None
            continue
        ahead.append((item, item.mouth.shape))
        if len(ahead) > SMOOTH:
            yield _next_smoothed(past, ahead)
    while ahead:
        yield _next_smoothed(past, ahead)


def _next_smoothed(
    past: deque[np.ndarray], ahead: deque[tuple[CropPlacement, np.ndarray]]
) -> tuple[CropPlacement, np.ndarray]:
    """Take the first frame off `ahead`."""
    reach = min(len(past), len(ahead) - 1)
    before = list(past)[len(past) - reach :]
    shapes = before + [shape for _, shape in list(ahead)[: reach + 1]]
    item, shape = ahead.popleft()
    past.append(shape)
    return item, fit_similarity(np.add.reduce(shapes) / len(shapes), MEAN_STABLE)


def _fill(
    gap: list[CropPlacement], before: MouthPose | None, after: CropPlacement, mouth: MouthPose
) -> Iterator[CropPlacement]:
    """Frames of a short gap on the straight line between both ends; across a cut, each like its own end."""
    cuts = [k for k, item in enumerate([*gap, after]) if item.cut]
    if cuts and not (before is not None and _same_place(before, mouth)):
        yield from _hold(gap[: cuts[-1]], before)
        gap, before = gap[cuts[-1] :], None
    start = before or mouth
    for k, item in enumerate(gap, 1):
        part = k / (len(gap) + 1)
        here = MouthPose(*((1 - part) * a + part * b for a, b in zip(start, mouth, strict=True)))
        yield replace(item, mouth=here, source="interpolated")


def _hold(
    gap: list[CropPlacement], last: MouthPose | None
) -> Generator[CropPlacement, None, MouthPose | None]:
    """Frames of a long gap where the mouth was last, blank in a scene without one. Returns the last place."""
    for item in gap:
        last = None if item.cut else last
        yield item if last is None else replace(item, mouth=last, source="held")
    return last


def _same_place(before: MouthPose, after: MouthPose) -> bool:
    """Whether two places are one face that was lost in a flash of light, not two scenes."""
    first, second = _eye_width(before), _eye_width(after)
    near = math.dist(before.lips, after.lips) < SAME_PLACE * min(first, second)
    return near and 0.8 < first / second < 1.25


def _eye_width(mouth: MouthPose) -> float:
    """Distance of the outer eye corners."""
    return math.dist(mouth.shape[1], mouth.shape[4])
