"""Drawn faces: random height fields under a random lamp.

A face is a dome with bumps (nose, brows, cheeks, chin, dental arch); every bump has a random position, width
and height, so no two faces have the same geometry. Its normals are lit once per clip; `features` paints eyes,
brows, hair and beard. The lips are painted by `lips` in every frame.

Lengths are in eye distances (1.0 = between the eye centers), x to the right and y down, 0 between the eyes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lip2speech.data.synthetic.render.light import Light
from lip2speech.data.synthetic.render.mouth import MouthStyle

EYE_PX = 70  # pixels per eye distance on the canvas
LEFT, TOP, RIGHT, BOTTOM = -3.0, -2.5, 3.0, 3.3  # canvas edges
HEIGHT, WIDTH = round((BOTTOM - TOP) * EYE_PX), round((RIGHT - LEFT) * EYE_PX)


@dataclass(frozen=True)
class Canvas:
    """A face image without its mouth, the style and position of the mouth, and the light."""

    rgb: NDArray[Any]  # (HEIGHT, WIDTH, 3) float32, 0..255
    skin: NDArray[Any]  # (3,) float32, color of the lit skin around the mouth
    mouth: MouthStyle
    light: Light
    name: str = ""


@dataclass(frozen=True)
class Geometry:
    """The shape of one drawn face; `sample` varies the means of adults."""

    outline: NDArray[Any]  # (N, 2) y and half width
    bumps: NDArray[Any]  # (M, 5) x, y, width, height of the ellipse, elevation; mirrored unless x is 0
    dome: float
    nose_y: float
    nose_width: float
    mouth_y: float
    chin_y: float
    hairline: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Geometry:
        """A random adult face."""
        nose_y = np.clip(rng.normal(0.74, 0.05), 0.62, 0.88)
        mouth_y = nose_y + np.clip(rng.normal(0.40, 0.035), 0.30, 0.50)
        chin_y = mouth_y + np.clip(rng.normal(0.72, 0.06), 0.58, 0.90)
        cheek, jaw = rng.normal(1.10, 0.06), rng.normal(0.94, 0.07)
        hairline = rng.normal(-1.0, 0.1)
        top = np.clip(rng.normal(-1.85, 0.1), -2.15, -1.55)
        chin_width = np.clip(rng.normal(0.44, 0.08), 0.26, 0.6)
        jowl = mouth_y + 0.56 * (chin_y - mouth_y)
        outline = np.array(
            [
                [top, 0.0], [top + 0.1, 0.48], [top + 0.35, 0.80], [-0.9, cheek - 0.06], [-0.3, cheek],
                [0.2, cheek], [0.65, 0.55 * cheek + 0.45 * jaw + 0.06], [mouth_y, jaw],
                [jowl, 0.5 * (jaw + chin_width) + 0.06], [chin_y - 0.1, chin_width], [chin_y, 0.12],
                [chin_y + 0.02, 0.0],
            ]
        )  # fmt: skip
        return cls(
            outline=outline,
            bumps=_sample_bumps(rng, nose_y, mouth_y, chin_y),
            dome=rng.uniform(0.75, 1.0),
            nose_y=nose_y,
            nose_width=np.clip(rng.normal(0.27, 0.04), 0.19, 0.38),
            mouth_y=mouth_y,
            chin_y=chin_y,
            hairline=hairline,
        )


def _sample_bumps(rng: np.random.Generator, nose_y: float, mouth_y: float, chin_y: float) -> NDArray[Any]:
    """Rows (x, y, width, height, elevation) of the bumps on the dome: (M, 5)."""

    def near(*values: float) -> list[float]:
        return [v * rng.normal(1.0, 0.12) for v in values]

    wing = rng.uniform(0.15, 0.21)
    rows = [
        [0.0, nose_y - 0.14, *near(0.13, 0.16, 0.30)],  # tip
        [0.0, nose_y - 0.42, *near(0.11, 0.26, 0.17)],  # bridge
        [0.0, -0.02, *near(0.12, 0.22, 0.08)],  # root
        [wing, nose_y - 0.04, *near(0.08, 0.08, 0.11)],  # wings
        [0.5, -0.02, *near(0.24, 0.15, -0.09)],  # eye sockets
        [0.5, 0.0, *near(0.17, 0.11, 0.07)],  # eyeballs
        [0.48, -0.36, *near(0.34, 0.11, 0.06)],  # brow ridge
        [0.68, 0.42, *near(0.28, 0.22, rng.uniform(0.0, 0.10))],  # cheekbones
        [0.40, 0.62, *near(0.13, 0.22, rng.uniform(-0.05, 0.0))],  # hollow beside the nose
        [0.0, mouth_y, *near(0.42, 0.26, 0.10)],  # dental arch
        [0.0, mouth_y - 0.22, *near(0.05, 0.11, -rng.uniform(0.008, 0.03))],  # philtrum
        [0.0, mouth_y + 0.33, *near(0.26, 0.07, -rng.uniform(0.02, 0.07))],  # fold above the chin
        [0.0, chin_y - 0.20, *near(0.22, 0.15, rng.uniform(0.05, 0.13))],  # chin
        [0.0, -0.75, *near(0.6, 0.4, 0.05)],  # forehead
    ]
    return np.array(rows)


def canvas_grid() -> tuple[NDArray[Any], NDArray[Any]]:
    """Coordinates of the pixel centers of the canvas: x (1, WIDTH) and y (HEIGHT, 1) float32."""
    x = LEFT + (np.arange(WIDTH, dtype=np.float32) + 0.5) / EYE_PX
    y = TOP + (np.arange(HEIGHT, dtype=np.float32) + 0.5) / EYE_PX
    return x[None, :], y[:, None]


def half_width(geometry: Geometry, y: NDArray[Any]) -> NDArray[Any]:
    """Half width of the head at the heights y (N,), 0 above and below it: (N,) float32."""
    from scipy.interpolate import PchipInterpolator

    heights, widths = geometry.outline.T
    inside = (y > heights[0]) & (y < heights[-1])
    return np.where(
        inside, PchipInterpolator(heights, widths)(np.clip(y, heights[0], heights[-1])), 0.0
    ).astype(np.float32)


def elevation(geometry: Geometry) -> tuple[NDArray[Any], NDArray[Any]]:
    """Height of the face, and signed distance to its outline (positive inside): (HEIGHT, WIDTH) float32."""
    x, y = canvas_grid()
    width = half_width(geometry, y[:, 0])[:, None]
    top, chin = geometry.outline[0, 0], geometry.chin_y
    middle, reach = (top + chin) / 2, (chin - top) / 2
    upright = np.clip(1 - (np.abs(y - middle) / (reach * 1.06)) ** 2.6, 0, 1)
    across = np.clip(1 - (np.abs(x) / np.maximum(width, 1e-3)) ** 2.2, 0, 1)
    z = geometry.dome * np.sqrt(across + 1e-4) * np.sqrt(upright + 1e-4)
    for bx, by, bw, bh, up in geometry.bumps:
        down = np.exp(-0.5 * ((y - by) / bh) ** 2)
        for side in (-1, 1) if bx > 0 else (1,):
            z = z + up * down * np.exp(-0.5 * ((x - side * bx) / bw) ** 2)
    return z.astype(np.float32), np.where(width > 0, width - np.abs(x), -1.0).astype(np.float32)


def normals(z: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Unit normals of a height field (H, W) given in eye distances: x, y, z parts, (H, W) each."""
    dy, dx = np.gradient(z * EYE_PX)
    length = 1.0 / np.sqrt(dx * dx + dy * dy + 1.0)
    return -dx * length, -dy * length, length


def noise(rng: np.random.Generator, cells: int, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> NDArray[Any]:
    """Smooth noise with `cells` blobs over the height: (H, W) float32, standard deviation about 1."""
    import cv2

    small = rng.standard_normal((cells, max(2, cells * shape[1] // shape[0]))).astype(np.float32)
    return cv2.resize(small, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
