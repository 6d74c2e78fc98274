"""Where the mouth lies: the mean face, the similarity onto it, and what a face must look like to be one.

Coordinates are pixels, (0, 0) the centre of the first pixel. Points are the 468 of the mediapipe face
mesh; the mean face is the one of AV-HuBERT (Shi et al. 2022, section 4.1) and most lip reading since:
68-point convention in a 256x256 canvas.
"""

from typing import NamedTuple

import numpy as np

N_LANDMARKS = 468
# Nose base and the four eye corners, the points that move least in speech: 68-point numbers 33, 36, 39, 42,
# 45.
STABLE = np.array([2, 33, 133, 362, 263])
MEAN_STABLE = np.array(
    [[128.870, 137.303], [92.522, 94.369], [112.772, 94.944], [145.525, 94.535], [166.677, 93.566]],
    dtype=np.float64,
)
# Outer then inner lip contour, 68-point numbers 48..67.
LIPS = np.array([61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87])
RIGHT_EYE, LEFT_EYE, NOSE_TIP = (33, 133), (362, 263), 1
OUTER_EYE_CORNERS = (33, 263)

# The mesh network was trained on squares 1.5 times the face (Kartynnik et al. 2019, "Real-time facial
# surface geometry").
FACE_MARGIN = 1.5
MAX_WINDOW = 8192  # pixels; a square beyond any frame is a mistake
# Eyes closer than this leave a mouth of 8 pixels: nothing to read.
MIN_EYE_CORNERS = 12.0


class FaceBox(NamedTuple):
    """A square round a face: centre, side, and the angle of the eyes' line in radians, clockwise."""

    x: float
    y: float
    size: float
    angle: float = 0.0


def box_of(landmarks: np.ndarray) -> FaceBox:
    """The square in which the mesh looks for the same face in the next frame. landmarks (468, 2)."""
    low, high = landmarks.min(0), landmarks.max(0)
    x, y = (low + high) / 2
    right, left = landmarks[OUTER_EYE_CORNERS[0]], landmarks[OUTER_EYE_CORNERS[1]]
    angle = float(np.arctan2(left[1] - right[1], left[0] - right[0]))
    return FaceBox(float(x), float(y), FACE_MARGIN * float((high - low).max()), angle)


def cut_window(frame: np.ndarray, box: FaceBox) -> tuple[np.ndarray, int, int]:
    """The upright square of (H, W, 3) that holds the box, edges repeated outside, and its left and top.

    To hand over all of a 4K frame costs more than the network that looks at it. And the network's answer is
    mapped back as if the picture were square, so that in any other a tilted face comes out skewed.
    """
    height, width = frame.shape[:2]
    reach = box.size / 2 * (abs(np.cos(box.angle)) + abs(np.sin(box.angle))) + 1
    side = min(int(2 * reach) + 1, MAX_WINDOW)
    left, top = round(box.x - side / 2), round(box.y - side / 2)
    x0, y0 = int(np.clip(left, 0, width - 1)), int(np.clip(top, 0, height - 1))
    x1, y1 = int(np.clip(left + side, x0 + 1, width)), int(np.clip(top + side, y0 + 1, height))
    part = frame[y0:y1, x0:x1]
    if part.shape[:2] != (side, side):
        edges = ((y0 - top, top + side - y1), (x0 - left, left + side - x1), (0, 0))
        part = np.pad(part, [(max(0, a), max(0, b)) for a, b in edges], mode="edge")[:side, :side]
    return np.ascontiguousarray(part), left, top


def plausible(landmarks: np.ndarray) -> bool:
    """Whether (468, 2) points can be a face: eyes, nose, mouth down its own axis, in human proportions.

    A mesh network answers with points whatever it is shown; this catches answers to a hand, a wheel, or
    a wrong model file.
    """
    if landmarks.shape != (N_LANDMARKS, 2) or not np.isfinite(landmarks).all():
        return False
    right, left = landmarks[list(RIGHT_EYE)].mean(0), landmarks[list(LEFT_EYE)].mean(0)
    mouth, nose, eyes = landmarks[LIPS].mean(0), landmarks[NOSE_TIP], (right + left) / 2
    corners = landmarks[OUTER_EYE_CORNERS[1]] - landmarks[OUTER_EYE_CORNERS[0]]
    down, width = mouth - eyes, float(np.hypot(*corners))
    height = float(np.hypot(*down))
    if width < MIN_EYE_CORNERS or height < width * 0.3:
        return False
    down = down / height
    nose_depth = float((nose - eyes) @ down) / height
    lip_half = float(np.abs((landmarks[LIPS] - mouth) @ down).max()) / height
    upright = abs(float(corners @ down)) < 0.7 * width
    # Measured on talking faces up to three-quarter view: eye corners 0.6..1.6 of eyes-to-mouth, nose tip at
    # 0.4..0.8.
    return upright and 0.35 < width / height < 2.2 and 0.15 < nose_depth < 1.0 and lip_half < 0.8


def lip_centre(landmarks: np.ndarray) -> np.ndarray:
    """(..., 468, 2) -> (..., 2): mean of the 20 lip points, as AV-HuBERT centres its crops."""
    return landmarks[..., LIPS, :].mean(-2)


def fit_similarity(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(2, 2) rotation and scale of the least-squares similarity points -> target, both (N, 2).

    Umeyama 1991, "Least-squares estimation of transformation parameters between two point patterns".

    In complex numbers it is one line: target = a * point + b, with a the covariance over the variance.
    """
    z = (points - points.mean(0)) @ np.array([1, 1j])
    w = (target - target.mean(0)) @ np.array([1, 1j])
    a = (z.conj() @ w) / max(float((z.conj() @ z).real), 1e-9)
    return np.array([[a.real, -a.imag], [a.imag, a.real]])
