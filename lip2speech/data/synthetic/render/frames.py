"""Frames of a talking face from canvas, mouth track and pose.

Per frame, the skin of the lower face is warped to follow jaw and lips, the mouth is painted over it, and the
canvas is projected by the pose and passed through the camera effects.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lip2speech.data.synthetic.render.faces import EYE_PX, LEFT, TOP, Canvas
from lip2speech.data.synthetic.render.lips import MouthPainter
from lip2speech.data.synthetic.render.mouth import JAW, Curves, MouthStyle, lip_curves
from lip2speech.data.synthetic.render.scene import Camera, CameraEffects, HeadProjector, Pose

SKIN_X, SKIN_TOP, SKIN_BOTTOM = 1.15, -0.42, 1.45  # the region that moves, eye distances around the mouth
LIPS = 1.45  # the region repainted per frame, half mouth widths around the mouth
CHIN_SHARE = 0.75  # of the lower lip's drop that the chin follows
LIFT_SHARE = 0.6  # of the upper lip's lift that the skin above follows
PINCH_SHARE = 0.7  # of the motion of the corners that the cheeks follow
JAW_DROP = 0.2  # half mouth widths by which an open jaw lowers the chin behind closed lips


def smooth(value: NDArray[Any]) -> NDArray[Any]:
    """0 below 0, 1 above 1, a smooth step between."""
    clipped: NDArray[Any] = np.clip(value, 0, 1)
    smoothed: NDArray[Any] = clipped * clipped * (3 - 2 * clipped)
    return smoothed


class SkinWarp:
    """Warp of the skin around one mouth; x (1, W), y (H, 1) in eye distances from the mouth."""

    def __init__(self, style: MouthStyle, x: NDArray[Any], y: NDArray[Any]) -> None:
        span, shape = style.half_width, (y.shape[0], x.shape[1])
        self._style = style
        self._map_x = np.broadcast_to(np.arange(shape[1], dtype=np.float32)[None, :], shape)
        self._map_y = np.broadcast_to(np.arange(shape[0], dtype=np.float32)[:, None], shape)
        rim = smooth((y - SKIN_TOP) / 0.2)
        below = smooth((y + 0.02) / (0.5 * span)) * (1 - smooth((y - 0.75) / 0.6))
        drop = below * np.exp(-((x / 0.80) ** 4)) * smooth((SKIN_X - np.abs(x)) / 0.3)
        lift = smooth((0.02 - y) / 0.1) * rim * np.exp(-((x / (1.1 * span)) ** 2))
        pinch = x * np.exp(-((x / (1.3 * span)) ** 4) - (y / 0.32) ** 2) * rim
        self._drop, self._lift, self._pinch = ((EYE_PX * f).astype(np.float32) for f in (drop, lift, pinch))

    def __call__(self, image: NDArray[Any], curves: Curves, pose: NDArray[Any]) -> NDArray[Any]:
        """(H, W, 3) uint8 at rest -> the same region with mouth parameters `pose` (7,)."""
        import cv2

        style = self._style
        jaw = CHIN_SHARE * max(curves.drop, JAW_DROP * float(pose[JAW]) * style.effort) * style.half_width
        lift = LIFT_SHARE * curves.lift * style.half_width
        map_x = self._map_x + PINCH_SHARE * (1 / curves.width - 1) * self._pinch
        map_y = self._map_y - jaw * self._drop + lift * self._lift
        return cv2.remap(image, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


class LowerFace:
    """The moving region of one canvas, tone-mapped; index maps are computed once per clip."""

    def __init__(self, canvas: Canvas, effects: CameraEffects) -> None:
        style = canvas.mouth
        self._style, self._effects = style, effects
        base = np.clip(canvas.rgb, 0, 255).astype(np.uint8)
        self._toned = effects.tone(base)
        self._rows = _pixels(style.y + SKIN_TOP, style.y + SKIN_BOTTOM, TOP, base.shape[0])
        self._columns = _pixels(style.x - SKIN_X, style.x + SKIN_X, LEFT, base.shape[1])
        self._skin_at_rest = base[self._rows, self._columns]
        x, y = _pixel_centers(self._columns, LEFT) - style.x, _pixel_centers(self._rows, TOP) - style.y
        self._warp = SkinWarp(style, x[None, :], y[:, None])
        reach = LIPS * style.half_width
        self._window = (_pixels(-reach, reach, y[0], len(y)), _pixels(-reach, reach, x[0], len(x)))
        self._lip_x = x[self._window[1]] / style.half_width
        self._paint = MouthPainter(style, canvas.light, self._lip_x, y[self._window[0]] / style.half_width)

    def __call__(self, pose: NDArray[Any]) -> NDArray[Any]:
        """The canvas with mouth parameters (7,): (HEIGHT, WIDTH, 3) uint8, valid until the next call."""
        curves = lip_curves(self._style, pose, self._lip_x)
        patch = self._warp(self._skin_at_rest, curves, pose)
        window = patch[self._window].astype(np.float32)
        self._paint(window, curves, pose)
        patch[self._window] = np.clip(window, 0, 255).astype(np.uint8)
        self._toned[self._rows, self._columns] = self._effects.tone(patch)
        return self._toned


def _pixels(low: float, high: float, origin: float, limit: int) -> slice:
    return slice(max(0, round((low - origin) * EYE_PX)), min(limit, round((high - origin) * EYE_PX)))


def _pixel_centers(pixels: slice, origin: float) -> NDArray[Any]:
    return ((np.arange(pixels.start, pixels.stop) + 0.5) / EYE_PX + origin).astype(np.float32)


def render_frames(
    canvas: Canvas, track: NDArray[Any], pose: Pose, camera: Camera, rng: np.random.Generator
) -> Iterator[NDArray[Any]]:
    """One frame (H, W, 3) uint8 RGB per row of the mouth track (T, 7)."""
    effects = CameraEffects(camera, canvas.skin, rng)
    face, project = LowerFace(canvas, effects), HeadProjector(camera)
    for t, mouth in enumerate(track):
        yield effects.expose(project(face(mouth), pose, t))
