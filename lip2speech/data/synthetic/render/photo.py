"""The one photo face of the corpus: the public-domain portrait included in scikit-image, animated.

The portrait (NASA, astronaut Eileen Collins) smiles; its mouth is inpainted with the surrounding skin and
replaced by the mouth of the drawn faces. A random smooth warp, a flip and a color change give a somewhat
different face in every clip.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lip2speech.data.synthetic.render.faces import EYE_PX, LEFT, TOP, Canvas, canvas_grid, noise
from lip2speech.data.synthetic.render.light import Light
from lip2speech.data.synthetic.render.mouth import MouthStyle

# pixels of skimage.data.astronaut(), from mediapipe's face mesh
LEFT_EYE, RIGHT_EYE = np.array([204.2, 102.3]), np.array([247.1, 104.4])
MOUTH = np.array([223.3, 146.5])  # middle of the smile
NEW_MOUTH = np.array([223.4, 145.0])  # middle of the drawn mouth at rest
ERASE = (28.0, 13.5)  # half width and half height of the inpainted ellipse
TILT_DEGREES = 2.8
CHIN = (slice(160, 170), slice(212, 232))  # plain skin
LIGHT_DIRECTION = (-0.25, -0.35, 0.9)
WARP_CELLS, WARP_SIZE = 5, 0.045  # blobs over the height; standard deviation in eye distances


@functools.lru_cache(maxsize=1)
def portrait() -> NDArray[Any]:
    """The photo without its mouth: (512, 512, 3) uint8 RGB."""
    try:
        from skimage import data
    except ImportError:
        raise ImportError(
            "the photo face needs scikit-image, which is not installed; pip install 'lip2speech[synth]'."
        ) from None
    import cv2

    photo = np.ascontiguousarray(data.astronaut()[..., :3])  # type: ignore[no-untyped-call]  # scikit-image has no types
    mask = np.zeros(photo.shape[:2], np.uint8)
    center, axes = [round(float(v)) for v in MOUTH], [round(v) for v in ERASE]
    cv2.ellipse(mask, center, axes, TILT_DEGREES, 0, 360, (255,), -1)
    filled = cv2.inpaint(photo, mask, 4, cv2.INPAINT_TELEA)
    soft = cv2.GaussianBlur(filled, (0, 0), 3.0).astype(np.float32)
    soft += np.random.default_rng(0).normal(0, 3.0, photo.shape[:2])[..., None]
    blend = cv2.GaussianBlur(mask, (0, 0), 2.0)[..., None].astype(np.float32) / 255
    return np.clip(filled * (1 - blend) + soft * blend, 0, 255).astype(np.uint8)


def photo_canvas(rng: np.random.Generator, name: str = "photo") -> Canvas:
    """The portrait, randomly warped and recolored."""
    import cv2

    photo = portrait()
    x, y = canvas_grid()
    bend_x, bend_y = (WARP_SIZE * noise(rng, WARP_CELLS) for _ in range(2))
    stretch = np.exp(rng.normal(0, 0.05, 2))
    u, v = (x + bend_x) * stretch[0], (y + bend_y) * stretch[1]
    across, middle = RIGHT_EYE - LEFT_EYE, (LEFT_EYE + RIGHT_EYE) / 2
    map_x = middle[0] + across[0] * u - across[1] * v
    map_y = middle[1] + across[1] * u + across[0] * v
    image = cv2.remap(
        photo,
        map_x.astype(np.float32),
        map_y.astype(np.float32),
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT,
    ).astype(np.float32)
    mouth = _canvas_position(NEW_MOUTH, map_x, map_y)
    tone = np.exp(rng.normal(0.0, 0.05, 3)) * rng.uniform(0.45, 1.0)
    image = np.clip(image * tone, 0, 255)
    skin = photo[CHIN].reshape(-1, 3).mean(0) * tone
    direction = np.array(LIGHT_DIRECTION)
    if rng.random() < 0.5:
        image = np.ascontiguousarray(image[:, ::-1])
        mouth[0], direction[0] = -mouth[0], -direction[0]
    style = replace(MouthStyle.sample(rng, y=mouth[1], skin=skin), x=mouth[0])
    direction = (direction / np.linalg.norm(direction)).astype(np.float32)
    light = Light(direction, np.full(3, 0.55, np.float32), np.full(3, 0.5, np.float32))
    return Canvas(image, skin.astype(np.float32), style, light, name)


def _canvas_position(point: NDArray[Any], map_x: NDArray[Any], map_y: NDArray[Any]) -> NDArray[Any]:
    """Position on the canvas of the photo's `point` (2,): x and y in eye distances, (2,)."""
    away = (map_x - point[0]) ** 2 + (map_y - point[1]) ** 2
    row, column = np.unravel_index(int(np.argmin(away)), away.shape)
    return np.array([LEFT + (column + 0.5) / EYE_PX, TOP + (row + 0.5) / EYE_PX])
