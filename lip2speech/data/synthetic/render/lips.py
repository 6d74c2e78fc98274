"""Painting of the mouth in every frame: lips, teeth, tongue and the oral cavity.

Paints over the skin between and around the curves of `mouth`, in the same units: half mouth widths at rest, x
right, y down. A pixel's color depends on its row relative to a few curves of x, so everything is computed by
broadcasting rows against columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lip2speech.data.synthetic.render.light import Light
from lip2speech.data.synthetic.render.mouth import TIP, TONGUE, Curves, MouthStyle

CAVITY = np.array([46.0, 18.0, 18.0], np.float32)
TOOTH = 0.235  # width of a tooth, half mouth widths
INSIDE_LIGHT = 0.55  # share of the lamp that reaches the oral cavity


def ramp(distance: NDArray[Any], softness: float) -> NDArray[Any]:
    """0 where distance << 0, 1 where >> 0, linear over `softness` in between."""
    return np.clip(distance / softness + 0.5, 0.0, 1.0)


def mix(image: NDArray[Any], color: NDArray[Any], mask: NDArray[Any]) -> None:
    """Blend `color` ((3,) or (H, W, 3)) into the image (H, W, 3) with the opacity mask (H, W), in place."""
    image += (color - image) * mask[..., None]


class MouthPainter:
    """Paints one speaker's mouth in one light.

    Args:
        style: The speaker's mouth.
        light: The clip's light.
        x: Coordinates of the window's columns, (W,) float32.
        y: Coordinates of the window's rows, (H,) float32.
    """

    def __init__(self, style: MouthStyle, light: Light, x: NDArray[Any], y: NDArray[Any]) -> None:
        self._style, self._light = style, light
        self._x, self._rows = x, y[:, None]
        self._pixel = float(x[1] - x[0])
        self._above = max(0.0, float(-light.direction[1]) + 0.25)  # how far the lamp is above the face
        self._tooth_gaps = 0.88 + 0.12 * np.clip(np.abs(np.sin(x * np.pi / TOOTH)) * 3.0, 0, 1)

    def __call__(self, image: NDArray[Any], curves: Curves, pose: NDArray[Any]) -> None:
        """Paint the mouth over the skin in `image` (H, W, 3) float32, in place; pose is (7,)."""
        x, rows, pixel = self._x, self._rows, self._pixel
        gap = ramp(rows - curves.upper_inner, 1.6 * pixel) * ramp(curves.lower_inner - rows, 1.6 * pixel)
        gap *= (np.abs(x) < 0.98 * curves.width) * np.float32(min(1.0, curves.aperture / (0.5 * pixel)))
        if curves.aperture > 0.02:
            mix(image, self._interior(curves, pose) * self._light.on_front(INSIDE_LIGHT), gap)
        u = np.clip(x / curves.width, -1, 1)
        fold = np.exp(-(((rows - curves.lower_outer - 0.16) / 0.16) ** 2)) * (1 - u * u)
        image *= (1 - 0.20 * self._above * fold)[..., None]
        self._paint_lip(image, curves, u, gap, is_upper=True)
        self._paint_lip(image, curves, u, gap, is_upper=False)
        seam = (curves.upper_inner + curves.lower_inner) / 2
        line = np.exp(-(((rows - seam) / (1.1 * pixel)) ** 2)) * ramp(1.02 - np.abs(x) / curves.width, 0.06)
        image *= (1 - 0.55 * line * (1 - gap))[..., None]

    def _interior(self, curves: Curves, pose: NDArray[Any]) -> NDArray[Any]:
        """Colors between the lips under white light: (H, W, 3) float32."""
        style, x, rows, pixel = self._style, self._x, self._rows, self._pixel
        depth = np.clip((rows - curves.upper_inner) / max(curves.aperture, 0.05), 0, 1)
        inner: NDArray[Any] = CAVITY * (0.45 + 0.55 * depth)[..., None].astype(np.float32)
        bend = (x / curves.width) ** 2
        side = np.clip(1 - 1.35 * bend, 0, 1)
        tongue_up, tip = (float(np.clip(pose[i], 0, 1)) for i in (TONGUE, TIP))
        top = curves.drop * (0.45 - 0.62 * tongue_up) + 0.10
        tongue = ramp(rows - (top + 0.25 * bend), 5 * pixel) * (np.abs(x) < 0.66 * curves.width)
        dim = (0.62 * (0.55 + 0.45 * side))[None, :, None]
        mix(inner, style.tongue * dim, tongue * (0.5 + 0.5 * tongue_up))
        shadow = (0.42 + 0.58 * np.clip((rows - curves.upper_inner) / 0.16, 0, 1))[..., None]
        jaw_edge = curves.drop - style.lower_teeth + 0.12 * bend
        lower = ramp(rows - jaw_edge, 2.5 * pixel) * (np.abs(x) < 0.7 * curves.width)
        mix(inner, 0.72 * style.teeth * (self._tooth_gaps * (0.3 + 0.7 * side))[:, None] * shadow, lower)
        edge = style.teeth_length + 0.02 * np.cos(x * np.pi / TOOTH) - 0.10 * x * x
        upper = ramp(edge - rows, 2.2 * pixel)
        mix(inner, style.teeth * (self._tooth_gaps * (0.25 + 0.75 * side))[:, None] * shadow, upper)
        if tip > 0.05:
            reach = style.teeth_length - 0.06 + 0.10 * (1 - tip)
            out = np.exp(-((x / 0.52) ** 4)) * ramp(rows - reach, 3 * pixel)
            mix(inner, style.tongue * (0.65 + 0.35 * depth)[..., None], out * tip)
        return inner

    def _paint_lip(
        self, image: NDArray[Any], curves: Curves, u: NDArray[Any], gap: NDArray[Any], *, is_upper: bool
    ) -> None:
        """One lip: convex from its outer to its inner edge, with wrinkles; the lower one has a highlight."""
        import cv2

        style, rows, pixel = self._style, self._rows, self._pixel
        outer, inner, down = (
            (curves.upper_outer, curves.upper_inner, 1.0)
            if is_upper
            else (curves.lower_outer, curves.lower_inner, -1.0)
        )
        soft = (1.5 + 5 * (1 - style.edge)) * pixel
        across = np.clip((rows - outer) / (inner - outer + 1e-3 * down), 0, 1)  # 0 outer edge, 1 inner edge
        mask = ramp(down * (rows - outer), soft) * ramp(down * (inner - rows), 1.5 * pixel)
        mask *= ramp(1 - np.abs(self._x) / curves.width, 0.06)
        mask *= np.clip(np.abs(inner - outer) / (1.5 * pixel), 0, 1) * (1 - gap)
        ny = -0.15 + 0.95 * across**1.5 if is_upper else 0.75 * (1 - across) - 0.65 * across**1.2
        nx = 0.5 * u * np.abs(u)
        nz = np.sqrt(np.clip(1 - ny * ny - nx * nx, 0.05, 1))
        columns = np.broadcast_to((u + 1) * 127.5, across.shape).astype(np.float32)
        grain = cv2.remap(style.wrinkles, columns, (across * 60).astype(np.float32), cv2.INTER_LINEAR)
        color = style.lip * self._light.shade(np.broadcast_to(nx, ny.shape), ny, nz)
        color *= (1 + 0.045 * grain - 0.25 * across**6)[..., None]
        if not is_upper:
            shine = np.exp(-(((across - 0.62) / 0.16) ** 2) - (u / 0.45) ** 2) * (1 + 0.3 * grain)
            strength = 90 * style.gloss * max(0.1, self._above + 0.05)
            color += (strength * shine)[..., None].astype(np.float32) * self._light.key
        mix(image, color, mask)
