"""Where the mouth lies: the mean face, the similarity onto it, and what a face must look like to be one.

Coordinates are pixels, (0, 0) the centre of the first pixel. Points are the 468 of the mediapipe face
mesh; the mean face is the one of AV-HuBERT (Shi et al. 2022, section 4.1) and most lip reading since:
68-point convention in a 256x256 canvas.
"""

import math
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
UPPER_LIP, LOWER_LIP = 0, 17

# The mesh network was trained on squares 1.5 times the face (Kartynnik et al. 2019, "Real-time facial
# surface geometry").
FACE_MARGIN = 1.5
MAX_WINDOW = 8192  # pixels; a square beyond any frame is a mistake
# Eyes closer than this leave a mouth of 8 pixels: nothing to read.
MIN_EYE_CORNERS = 12.0


def _features() -> np.ndarray:
    """(8, 468) means: mouth, right eye, left eye, nose tip, outer eye corners, upper and lower lip."""
    groups = (LIPS, RIGHT_EYE, LEFT_EYE, NOSE_TIP, *OUTER_EYE_CORNERS, UPPER_LIP, LOWER_LIP)
    matrix = np.zeros((len(groups), N_LANDMARKS), np.float32)
    for row, group in zip(matrix, groups, strict=True):
        row[np.array(group)] = 1 / np.array(group).size
    return matrix


FEATURES = _features()


class FaceBox(NamedTuple):
    """A square round a face: centre, side, and the angle of the eyes' line in radians, clockwise."""

    x: float
    y: float
    size: float
    angle: float = 0.0


def box_of(landmarks: np.ndarray) -> FaceBox:
    """The square in which the mesh looks for the same face in the next frame. landmarks (468, 2)."""
    (x0, y0), (x1, y1) = landmarks.min(0).tolist(), landmarks.max(0).tolist()
    right, left = landmarks[OUTER_EYE_CORNERS[0]].tolist(), landmarks[OUTER_EYE_CORNERS[1]].tolist()
    angle = math.atan2(left[1] - right[1], left[0] - right[0])
    return FaceBox((x0 + x1) / 2, (y0 + y1) / 2, FACE_MARGIN * max(x1 - x0, y1 - y0), angle)


def cut_window(frame: np.ndarray, box: FaceBox) -> tuple[np.ndarray, int, int]:
    """A copy of the upright square of (H, W, 3) that holds the box, edges repeated outside; its left and top.

    To hand over all of a 4K frame costs more than the network that looks at it. And the network's answer is
    mapped back as if the picture were square, so that in any other a tilted face comes out skewed.
    """
    height, width = frame.shape[:2]
    reach = box.size / 2 * (abs(math.cos(box.angle)) + abs(math.sin(box.angle))) + 1
    side = min(int(2 * reach) + 1, MAX_WINDOW)
    left, top = round(box.x - side / 2), round(box.y - side / 2)
    x0, y0 = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    x1, y1 = min(max(left + side, x0 + 1), width), min(max(top + side, y0 + 1), height)
    part = frame[y0:y1, x0:x1]
    if part.shape[:2] == (side, side):
        return part.copy(), left, top
    edges = ((y0 - top, top + side - y1), (x0 - left, left + side - x1), (0, 0))
    padded = np.pad(part, [(max(0, a), max(0, b)) for a, b in edges], mode="edge")
    return padded[:side, :side].copy(), left, top


def plausible(landmarks: np.ndarray) -> bool:
    """Whether (468, 2) points can be a face: eyes, nose, mouth down its own axis, in human proportions.

    A mesh network answers with points whatever it is shown; this catches answers to a hand, a wheel, or
    a wrong model file.
    """
    if landmarks.shape != (N_LANDMARKS, 2) or not math.isfinite(float(landmarks.sum())):
        return False
    mouth, right, left, nose, outer_right, outer_left, upper, lower = (
        complex(x, y) for x, y in (FEATURES @ landmarks).tolist()
    )
    eyes, corners = (right + left) / 2, outer_left - outer_right
    width, height = abs(corners), abs(mouth - eyes)
    if width < MIN_EYE_CORNERS or not 0.35 < width / max(height, 1e-6) < 2.2:
        return False
    # In the face's own frame: real part down from eyes to mouth, in units of that distance.
    slope, nose_depth = (corners / (mouth - eyes)).real, ((nose - eyes) / (mouth - eyes)).real
    lips = abs((lower - upper) / (mouth - eyes))
    # Measured on talking faces up to three-quarter view: eye corners 0.6..1.6 of eyes-to-mouth, nose tip at
    # 0.4..0.8, the widest open mouth at 0.9.
    return abs(slope) < 0.7 * width / height and 0.15 < nose_depth < 1.0 and lips < 1.5


def lip_centre(landmarks: np.ndarray) -> np.ndarray:
    """(468, 2) -> (2,): mean of the 20 lip points, as AV-HuBERT centres its crops."""
    return landmarks[LIPS].sum(0) / len(LIPS)


def eye_width(landmarks: np.ndarray) -> float:
    """Distance of the outer eye corners in pixels, of (468, 2) points."""
    right, left = landmarks[OUTER_EYE_CORNERS[0]], landmarks[OUTER_EYE_CORNERS[1]]
    return math.dist(right, left)


def fit_similarity(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(2, 2) rotation and scale of the least-squares similarity points -> target, both (N, 2).

    Umeyama 1991, "Least-squares estimation of transformation parameters between two point patterns". In
    complex numbers it is one line: target = a * point + b, with a the covariance over the variance.
    """
    z, w = (p @ (1, 1j) for p in (points, target))
    z, w = z - z.sum() / len(z), w - w.sum() / len(w)
    a = complex(np.vdot(z, w)) / max(float(np.vdot(z, z).real), 1e-9)
    return np.array([[a.real, -a.imag], [a.imag, a.real]])
