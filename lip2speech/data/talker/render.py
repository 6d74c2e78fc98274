"""Frames of a talking face: canvas + mouth track + pose -> pictures.

Per frame: the skin of the lower face is stretched after the jaw and the lips, the mouth is drawn over it, and the
whole canvas goes through the pose's map and the camera.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .faces import EYE_PX, LEFT, TOP, Canvas
from .mouth import JAW, Curves, MouthStyle, draw_mouth, lip_curves
from .scene import Camera, Lens, Pose, Projector

SKIN_X, SKIN_TOP, SKIN_BOTTOM = 1.15, -0.42, 1.45  # the part that moves, eye distances around the mouth
LIPS = 1.45  # the part that is drawn anew, half mouth widths around the mouth
SETTLE = 0.75  # share of the jaw's drop that the chin's outline shows


def _smooth(value: np.ndarray) -> np.ndarray:
    value = np.clip(value, 0, 1)
    return value * value * (3 - 2 * value)


class LowerFace:
    """The moving part of one canvas: fixed index maps, computed once per clip."""

    def __init__(self, canvas: Canvas, lens: Lens) -> None:
        style = canvas.mouth
        self._canvas, self._style, self._lens = canvas, style, lens
        self._base = np.clip(canvas.rgb, 0, 255).astype(np.uint8)
        self._toned = lens.tone(self._base)
        self._rows = _pixels(style.y + SKIN_TOP, style.y + SKIN_BOTTOM, TOP, self._base.shape[0])
        self._columns = _pixels(style.x - SKIN_X, style.x + SKIN_X, LEFT, self._base.shape[1])
        x = (np.arange(self._columns.start, self._columns.stop) + 0.5) / EYE_PX + LEFT - style.x
        y = (np.arange(self._rows.start, self._rows.stop) + 0.5) / EYE_PX + TOP - style.y
        self._x, self._y = x.astype(np.float32)[None, :], y.astype(np.float32)[:, None]
        self._map_x = np.broadcast_to(np.arange(len(x), dtype=np.float32)[None, :], (len(y), len(x)))
        self._map_y = np.broadcast_to(np.arange(len(y), dtype=np.float32)[:, None], (len(y), len(x)))
        edge = _smooth((SKIN_X - np.abs(self._x)) / 0.3)
        span = style.half_width
        below = _smooth((self._y + 0.02) / (0.5 * span)) * (1 - _smooth((self._y - 0.75) / 0.6))
        side = np.exp(-((self._x / 0.80) ** 4))
        self._drop = (EYE_PX * below * side * edge).astype(np.float32)
        above = _smooth(-(self._y - 0.02) / 0.1) * _smooth((self._y - SKIN_TOP) / 0.3)
        self._lift = (EYE_PX * above * np.exp(-((self._x / (1.1 * span)) ** 2))).astype(np.float32)
        pinch = np.exp(-((self._x / (1.3 * span)) ** 4) - (self._y / 0.32) ** 2) * _smooth(
            (self._y - SKIN_TOP) / 0.2
        )
        self._pinch = (EYE_PX * self._x * pinch).astype(np.float32)
        self._window = (
            _pixels(-LIPS * span, LIPS * span, float(y[0] - 0.5 / EYE_PX), len(y)),
            _pixels(-LIPS * span, LIPS * span, float(x[0] - 0.5 / EYE_PX), len(x)),
        )
        self._lip_x = (x[self._window[1]] / span).astype(np.float32)
        self._lip_y = (y[self._window[0]] / span).astype(np.float32)

    def draw(self, pose: np.ndarray) -> np.ndarray:
        """The canvas with the mouth at `pose` (7,): (HEIGHT, WIDTH, 3) uint8, valid until the next call's."""
        curves = lip_curves(self._style, pose, self._lip_x)
        patch = self._stretch(curves, pose)
        window = patch[self._window].astype(np.float32)
        light = self._canvas.light
        draw_mouth(
            window, self._style, curves, pose, x=self._lip_x, y=self._lip_y,
            direction=light.direction, key=light.key, ambient=light.ambient,
        )  # fmt: skip
        patch[self._window] = np.clip(window, 0, 255).astype(np.uint8)
        self._toned[self._rows, self._columns] = self._lens.tone(patch)
        return self._toned

    def _stretch(self, curves: Curves, pose: np.ndarray) -> np.ndarray:
        """The skin after jaw and lips: (h, w, 3) uint8."""
        import cv2

        span = self._style.half_width
        jaw = max(curves.drop, 0.5 * pose[JAW] * self._style.effort * 0.4) * span * SETTLE
        map_y = self._map_y - jaw * self._drop + 0.6 * curves.lift * span * self._lift
        map_x = self._map_x + 0.7 * (1 / curves.width - 1) * self._pinch
        return cv2.remap(self._base[self._rows, self._columns], map_x, map_y, cv2.INTER_LINEAR,
                         borderMode=cv2.BORDER_REPLICATE)  # fmt: skip


def _pixels(low: float, high: float, origin: float, limit: int) -> slice:
    return slice(max(0, round((low - origin) * EYE_PX)), min(limit, round((high - origin) * EYE_PX)))


def render_frames(
    canvas: Canvas, track: np.ndarray, pose: Pose, camera: Camera, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """One frame (H, W, 3) uint8 RGB per row of the mouth track (T, 7)."""
    lens = Lens(camera, canvas.skin, rng)
    face, project = LowerFace(canvas, lens), Projector(camera)
    for t, mouth in enumerate(track):
        yield lens.expose(project(face.draw(mouth), pose, t))


def lip_measures(style: MouthStyle, track: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the frames should show: opening and width of the lips in half mouth widths, (T,) each."""
    curves = [lip_curves(style, pose, np.linspace(-1, 1, 33)) for pose in track]
    return np.array([c.aperture for c in curves]), np.array([2 * c.width for c in curves])
