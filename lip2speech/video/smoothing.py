"""A mouth for every frame: short gaps bridged, long ones held, shapes averaged over neighbouring frames.

    frames       ... t-6 ............ t ............ t+6 ... t+18
    scale, angle     |<- mean of the points' shapes ->|
    a gap of up to 12 frames is bridged, so a frame waits for 18 others at most

A shape is the 5 stable points relative to the lips: a steady movement of the head does not change it, so averaging shapes
steadies scale and angle without dragging the crop behind the mouth. Nothing is averaged across a cut. Knows points; knows no pixels.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from lip2speech.video.geometry import MEAN_STABLE, STABLE, fit_similarity, lip_centre
from lip2speech.video.landmarks import Tracked

SMOOTH = 6  # frames on either side; AV-HuBERT's own window is 12 frames long
MAX_GAP = 12  # frames without a face that are interpolated: 0.5 s


@dataclass(frozen=True)
class Placed:
    """A frame whose mouth is known, measured or not.

    Attributes:
        frame: the picture, or the part of it round the face.
        shape: (5, 2) stable points relative to the lips; None where no face has been seen in this scene.
        lips: (2,) centre of the lips in `frame`; None likewise.
        source: "found", "bridged" (interpolated over a short gap), "held" (long gap, last place) or "blank".
        cut: as in `Tracked`.
    """

    frame: np.ndarray
    shape: np.ndarray | None
    lips: np.ndarray | None
    source: str
    cut: bool


def place(tracked: Iterable[Tracked]) -> Iterator[Placed]:
    """Give every frame a mouth: short gaps are interpolated, long ones hold the last place. Looks ahead 12 frames at most."""
    waiting: list[Placed] = []  # frames of a gap that may yet turn out short
    last: Placed | None = None  # the last known place in this scene
    long_gap = False
    for item in tracked:
        if item.cut:
            yield from _hold(waiting, last)
            waiting, last, long_gap = [], None, False
        now = measure(item)
        if now.shape is not None:
            yield from _bridge(waiting, last, now)
            yield now
            waiting, last, long_gap = [], now, False
        elif long_gap:
            yield from _hold([now], last)
        else:
            waiting.append(now)
            if len(waiting) > MAX_GAP:
                yield from _hold(waiting, last)
                waiting, long_gap = [], True
    yield from _hold(waiting, last)


def smooth(placed: Iterable[Placed]) -> Iterator[tuple[Placed, np.ndarray | None]]:
    """Every frame with its (2, 2) rotation and scale onto the mean face, from the mean shape of its neighbours.

    The window is symmetric and shrinks towards the ends of a scene, so that a steady movement is not delayed.
    """
    window: deque[Placed] = deque()  # one run of frames with a place, from SMOOTH before `here`
    here = 0
    for item in placed:
        if window and (item.cut or item.shape is None):
            yield from _drain(window, here)
            window, here = deque(), 0
        if item.shape is None:
            yield item, None
            continue
        window.append(item)
        if len(window) - here > SMOOTH:
            yield _smoothed(window, here)
            here += 1
            if here > SMOOTH:
                window.popleft()
                here -= 1
    yield from _drain(window, here)


def measure(item: Tracked) -> Placed:
    if item.landmarks is None:
        return Placed(item.frame, None, None, "blank", item.cut)
    points = item.landmarks.astype(np.float64)
    lips = lip_centre(points)
    return Placed(item.frame, points[STABLE] - lips, lips, "found", item.cut)


def _bridge(waiting: list[Placed], before: Placed | None, after: Placed) -> Iterator[Placed]:
    """Frames of a short gap on the straight line between both ends; at the head of a scene all like its first face."""
    for k, item in enumerate(waiting, 1):
        start, part = (before, k / (len(waiting) + 1)) if before is not None else (after, 1.0)
        shape = (1 - part) * start.shape + part * after.shape
        yield replace(item, shape=shape, lips=(1 - part) * start.lips + part * after.lips, source="bridged")


def _hold(waiting: list[Placed], last: Placed | None) -> Iterator[Placed]:
    """Frames of a long gap where the mouth was last; nothing before the first face of a scene."""
    for item in waiting:
        yield item if last is None else replace(item, shape=last.shape, lips=last.lips, source="held")


def _drain(window: deque[Placed], here: int) -> Iterator[tuple[Placed, np.ndarray]]:
    for k in range(here, len(window)):
        yield _smoothed(window, k)


def _smoothed(window: deque[Placed], here: int) -> tuple[Placed, np.ndarray]:
    reach = min(SMOOTH, here, len(window) - 1 - here)
    shapes = [window[k].shape for k in range(here - reach, here + reach + 1)]
    return window[here], fit_similarity(np.mean(shapes, axis=0), MEAN_STABLE)
