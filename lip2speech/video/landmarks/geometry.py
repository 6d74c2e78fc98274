"""Face geometry: landmark indices, the mean face, the similarity transform onto it, plausibility of a face.

Coordinates are pixels, (0, 0) the center of the first pixel. Landmarks are the 468 of the mediapipe face
mesh. The mean face is the one used by AV-HuBERT (Shi et al. 2022, section 4.1) and most lip reading since:
68-point convention on a 256x256 canvas.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

N_LANDMARKS = 468
# Base of the nose and the four eye corners, which move least in speech: 33, 36, 39, 42, 45 of 68 points.
STABLE_POINTS = np.array([2, 33, 133, 362, 263])
MEAN_STABLE_POINTS = np.array(
    [[128.870, 137.303], [92.522, 94.369], [112.772, 94.944], [145.525, 94.535], [166.677, 93.566]],
    dtype=np.float64,
)
# Outer, then inner lip contour: 48..67 of 68 points.
LIPS = np.array([61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87])
RIGHT_EYE, LEFT_EYE, NOSE_TIP = (33, 133), (362, 263), 1
OUTER_EYE_CORNERS = (33, 263)
UPPER_LIP, LOWER_LIP = 0, 17

# The landmark network was trained on boxes 1.5 times the face (Kartynnik et al. 2019, "Real-time facial
# surface geometry").
FACE_MARGIN = 1.5
MAX_WINDOW = 8192  # pixels; a box beyond any frame is an error
MIN_EYE_DISTANCE = 12.0  # pixels; below it the mouth is 8 pixels wide and cannot be read


def _feature_matrix() -> NDArray[Any]:
    """(8, 468) means: mouth, right eye, left eye, nose tip, outer eye corners, upper and lower lip."""
    groups = (LIPS, RIGHT_EYE, LEFT_EYE, NOSE_TIP, *OUTER_EYE_CORNERS, UPPER_LIP, LOWER_LIP)
    matrix = np.zeros((len(groups), N_LANDMARKS), np.float32)
    for row, group in zip(matrix, groups, strict=True):
        row[np.array(group)] = 1 / np.array(group).size
    return matrix


FEATURE_MATRIX = _feature_matrix()


class FaceBox(NamedTuple):
    """A square round a face: center, side, and the angle of the eye line in radians, clockwise."""

    x: float
    y: float
    size: float
    angle: float = 0.0

    @classmethod
    def from_landmarks(cls, landmarks: NDArray[Any]) -> "FaceBox":
        """The box round landmarks (468, 2), in which the network finds the same face in the next frame."""
        (x0, y0), (x1, y1) = landmarks.min(0).tolist(), landmarks.max(0).tolist()
        right, left = landmarks[OUTER_EYE_CORNERS[0]].tolist(), landmarks[OUTER_EYE_CORNERS[1]].tolist()
        angle = math.atan2(left[1] - right[1], left[0] - right[0])
        return cls((x0 + x1) / 2, (y0 + y1) / 2, FACE_MARGIN * max(x1 - x0, y1 - y0), angle)


def crop_window(frame: NDArray[Any], box: FaceBox) -> tuple[NDArray[Any], int, int]:
    """The upright square of (H, W, 3) round the box, copied, with edge padding; its left and top.

    Passing a whole 4K frame costs more than the network itself. Also, mediapipe maps the output back as if
    the image were square, so in any other image the landmarks of a tilted face come out skewed.
    """
    height, width = frame.shape[:2]
    reach = box.size / 2 * (abs(math.cos(box.angle)) + abs(math.sin(box.angle))) + 1
    side = min(int(2 * reach) + 1, MAX_WINDOW)
    left, top = round(box.x - side / 2), round(box.y - side / 2)
    x0, y0 = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    x1, y1 = min(max(left + side, x0 + 1), width), min(max(top + side, y0 + 1), height)
    window = frame[y0:y1, x0:x1]
    if window.shape[:2] == (side, side):
        return window.copy(), left, top
    edges = ((y0 - top, top + side - y1), (x0 - left, left + side - x1), (0, 0))
    padded = np.pad(window, [(max(0, a), max(0, b)) for a, b in edges], mode="edge")
    return padded[:side, :side].copy(), left, top


def is_plausible_face(landmarks: NDArray[Any]) -> bool:
    """Whether (468, 2) points can be a face: eyes, nose and mouth in order along its axis, human proportions.

    A landmark network returns points for any input; this rejects its output for a hand, a wheel, or from a
    wrong model file.
    """
    if landmarks.shape != (N_LANDMARKS, 2) or not math.isfinite(float(landmarks.sum())):
        return False
    mouth, right, left, nose, outer_right, outer_left, upper, lower = (
        complex(x, y) for x, y in (FEATURE_MATRIX @ landmarks).tolist()
    )
    eyes, corners = (right + left) / 2, outer_left - outer_right
    width, height = abs(corners), abs(mouth - eyes)
    if width < MIN_EYE_DISTANCE or not 0.35 < width / max(height, 1e-6) < 2.2:
        return False
    # In face coordinates: the real part points from eyes to mouth, in units of that distance.
    slope, nose_depth = (corners / (mouth - eyes)).real, ((nose - eyes) / (mouth - eyes)).real
    lips = abs((lower - upper) / (mouth - eyes))
    # Measured on talking faces up to three-quarter view: eye corners 0.6..1.6 of eyes-to-mouth, nose tip at
    # 0.4..0.8, the widest open mouth at 0.9.
    return abs(slope) < 0.7 * width / height and 0.15 < nose_depth < 1.0 and lips < 1.5


def lip_center(landmarks: NDArray[Any]) -> NDArray[Any]:
    """(468, 2) -> (2,): mean of the 20 lip landmarks, the center of AV-HuBERT's crops."""
    center: NDArray[Any] = landmarks[LIPS].sum(0) / len(LIPS)
    return center


def eye_distance(landmarks: NDArray[Any]) -> float:
    """Distance between the outer eye corners of landmarks (468, 2), in pixels."""
    right, left = landmarks[OUTER_EYE_CORNERS[0]], landmarks[OUTER_EYE_CORNERS[1]]
    return math.dist(right, left)


def fit_similarity(points: NDArray[Any], target: NDArray[Any]) -> NDArray[Any]:
    """(2, 2) rotation and scale of the least-squares similarity transform points -> target, both (N, 2).

    Umeyama 1991, "Least-squares estimation of transformation parameters between two point patterns". With
    complex numbers it is one line: target = a * point + b, where a is the covariance over the variance.
    """
    z, w = (p @ (1, 1j) for p in (points, target))
    z, w = z - z.sum() / len(z), w - w.sum() / len(w)
    a = complex(np.vdot(z, w)) / max(float(np.vdot(z, z).real), 1e-9)
    return np.array([[a.real, -a.imag], [a.imag, a.real]])
