"""The camera of a clip: frame size, the head's pose and motion, and the effects of lens and sensor.

Head rotation is approximated by parallax: a pixel moves sideways by its depth times the yaw. That is accurate
for a few degrees and sufficient up to the 12 degrees used here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lip2speech.constants import VIDEO_FPS
from lip2speech.data.synthetic.render.faces import EYE_PX, LEFT, TOP

GRID_STEP = 8  # the map from frame to canvas is computed at every 8th pixel
NOISE_MARGIN = 32
_NO_MAP = np.empty(0, np.float32)  # both planes of the map are in one array
AUTO_EXPOSURE = 0.85  # 1: every skin is equally bright; 0: no automatic exposure


@dataclass(frozen=True)
class Camera:
    """Constants of one clip."""

    width: int
    height: int
    crf: int
    gamma: float
    exposure: float  # gray level of the skin after automatic exposure
    noise: float
    blur: float
    saturation: float


def sample_camera(rng: np.random.Generator) -> Camera:
    """A random small frame, square or not, and random camera quality."""
    height = int(rng.integers(128, 201)) * 2
    width = int(np.clip(height * rng.choice([1.0, 1.0, 1.25, 1.33]), 256, 400)) // 2 * 2
    return Camera(
        width=width,
        height=height,
        crf=int(rng.integers(20, 34)),
        gamma=float(np.exp(rng.normal(0.0, 0.16))),
        exposure=rng.uniform(100, 205),
        noise=rng.uniform(0.0, 5.0) * rng.random(),
        blur=max(0.0, rng.normal(0.35, 0.5)),
        saturation=rng.uniform(0.5, 1.1),
    )


@dataclass(frozen=True)
class Pose:
    """Position and orientation of the head in every frame of a clip, (T,) each."""

    scale: NDArray[Any]  # frame pixels per eye distance
    roll: NDArray[Any]  # radians, like yaw and pitch
    yaw: NDArray[Any]
    pitch: NDArray[Any]
    x: NDArray[Any]  # of the point between the eyes, frame pixels
    y: NDArray[Any]


def _drift(rng: np.random.Generator, n_frames: int, size: float) -> NDArray[Any]:
    """Slow smooth motion of the given standard deviation: (T,)."""
    t = np.arange(n_frames) / VIDEO_FPS
    waves = sum(
        rng.normal() * np.sin(2 * np.pi * (rng.uniform(0.1, 1.1) * t + rng.random())) / np.sqrt(2.0)
        for _ in range(3)
    )
    return size * np.asarray(waves)


def sample_pose(rng: np.random.Generator, camera: Camera, n_frames: int) -> Pose:
    """A nearly frontal head with the small motions of a speaker; the mouth stays in the frame."""
    calm = rng.uniform(0.2, 1.0)
    scale = min(camera.width, camera.height) * rng.uniform(0.175, 0.255)
    radians = np.pi / 180
    return Pose(
        scale=scale * (1 + _drift(rng, n_frames, 0.008 * calm)),
        roll=radians * (np.clip(rng.normal(0, 3.0), -9, 9) + _drift(rng, n_frames, 1.2 * calm)),
        yaw=radians * (np.clip(rng.normal(0, 5.0), -12, 12) + _drift(rng, n_frames, 1.5 * calm)),
        pitch=radians * (np.clip(rng.normal(0, 4.0), -9, 9) + _drift(rng, n_frames, 1.3 * calm)),
        x=camera.width / 2 + rng.uniform(-0.35, 0.35) * scale + _drift(rng, n_frames, 0.02 * calm * scale),
        y=camera.height / 2 - rng.uniform(0.2, 0.6) * scale + _drift(rng, n_frames, 0.02 * calm * scale),
    )


class HeadProjector:
    """Projects the canvas to a frame of the clip's size, for one pose at a time."""

    def __init__(self, camera: Camera) -> None:
        rows, columns = -(-camera.height // GRID_STEP) + 1, -(-camera.width // GRID_STEP) + 1
        self._size = (camera.width, camera.height)
        self._x = (np.arange(columns, dtype=np.float32) * GRID_STEP)[None, :]
        self._y = (np.arange(rows, dtype=np.float32) * GRID_STEP)[:, None]

    def __call__(self, canvas: NDArray[Any], pose: Pose, t: int) -> NDArray[Any]:
        """canvas (HEIGHT, WIDTH, 3) uint8 -> frame (H, W, 3) uint8."""
        import cv2

        sine, cosine = np.sin(pose.roll[t]) / pose.scale[t], np.cos(pose.roll[t]) / pose.scale[t]
        dx, dy = self._x - pose.x[t], self._y - pose.y[t]
        u, v = cosine * dx + sine * dy, cosine * dy - sine * dx
        depth = _head_depth(u, v)
        u, v = u - pose.yaw[t] * depth, v - pose.pitch[t] * depth
        coarse = np.stack([(u - LEFT) * EYE_PX - 0.5, (v - TOP) * EYE_PX - 0.5], axis=-1).astype(np.float32)
        dense = _upsample(coarse, self._size)
        return cv2.remap(canvas, dense, _NO_MAP, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def _upsample(grid: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """(h, w, 2) at every `GRID_STEP`-th pixel -> (H, W, 2) at every pixel, linear; size is (W, H)."""
    import cv2

    affine = np.array([[1 / GRID_STEP, 0, 0], [0, 1 / GRID_STEP, 0]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(grid, affine, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _head_depth(u: NDArray[Any], v: NDArray[Any]) -> NDArray[Any]:
    """Approximate depth of a head at canvas coordinates: a dome down to the plane of the ears, and a nose."""
    dome = np.clip(1 - (u / 1.35) ** 2 - ((v - 0.2) / 2.1) ** 2, 0, 1) ** 0.75
    nose = 0.3 * np.exp(-((u / 0.2) ** 2) - ((v - 0.62) / 0.28) ** 2)
    return dome + nose


class CameraEffects:
    """Blur, exposure, color and noise of one clip."""

    def __init__(self, camera: Camera, skin: NDArray[Any], rng: np.random.Generator) -> None:
        self._camera = camera
        gray = np.array([0.299, 0.587, 0.114])
        gain = (camera.exposure / max(float(skin @ gray), 20.0)) ** AUTO_EXPOSURE
        levels = np.clip(np.arange(256) / 255 * gain, 0, 1) ** camera.gamma
        self._curve = np.clip(np.round(255 * levels), 0, 255).astype(np.uint8)
        self._rng = rng
        shape = (camera.height + NOISE_MARGIN, camera.width + NOISE_MARGIN, 1)
        grain = (
            rng.standard_normal(shape) * camera.noise
            + rng.standard_normal((*shape[:2], 3)) * camera.noise / 3
        )
        self._grain = grain.astype(np.int16)
        s = camera.saturation
        self._color = (s * np.eye(3) + (1 - s) * gray[None, :]).astype(np.float32)

    def tone(self, image: NDArray[Any]) -> NDArray[Any]:
        """Exposure, gamma and saturation: (H, W, 3) uint8 -> the same shape and type."""
        import cv2

        return cv2.LUT(cv2.transform(image, self._color), self._curve)

    def expose(self, frame: NDArray[Any]) -> NDArray[Any]:
        """Blur and noise: (H, W, 3) uint8 -> the same shape and type."""
        import cv2

        camera = self._camera
        if camera.blur > 0.3:
            frame = cv2.GaussianBlur(frame, (0, 0), camera.blur)
        if camera.noise > 0.5:
            i, j = self._rng.integers(NOISE_MARGIN, size=2)
            grain = self._grain[i : i + camera.height, j : j + camera.width]
            frame = cv2.add(frame, grain, dtype=cv2.CV_8U)
        return np.ascontiguousarray(frame)
