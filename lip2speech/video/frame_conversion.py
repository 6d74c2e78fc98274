"""One decoded frame -> upright RGB with square pixels.

Handles rotation, pixel aspect ratio, interlacing, transparency and bit depth.
"""

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_ASPECT = 8
"""Pixel aspect ratios beyond this are broken headers, not anamorphic video."""


def to_rgb(frame: Any, aspect: Fraction | None = None) -> NDArray[Any]:
    """(H, W, 3) uint8 RGB of a decoded frame, as a player would show it.

    Args:
        frame: a decoded PyAV frame of any pixel format.
        aspect: width over height of a pixel; the short side is upscaled, so no detail is lost.
    """
    width, height = square_pixel_size(frame.width, frame.height, aspect)
    alpha = has_alpha(frame.format)
    # The conversion also reduces 10 bits to 8, expands studio range (16..235) to full range, and converts any
    # chroma layout to RGB.
    pixels: NDArray[Any] = frame.to_ndarray(format="rgba" if alpha else "rgb24", width=width, height=height)
    if alpha:
        pixels = composite_over_black(pixels)
    if frame.interlaced_frame:
        pixels = deinterlace(pixels)
    # The rotation still to be applied, counter-clockwise as in np.rot90.
    quarter_turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, quarter_turns)) if quarter_turns else pixels


def square_pixel_size(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Width and height at which pixels of this aspect ratio become square."""
    if not aspect or aspect == 1 or not Fraction(1, MAX_ASPECT) <= aspect <= MAX_ASPECT:
        return width, height
    if aspect > 1:
        return round(width * aspect), height
    return width, round(height / aspect)


def has_alpha(pixel_format: Any) -> bool:
    """Whether a pixel format has transparency: 2 or 4 components, or a palette."""
    return len(pixel_format.components) in (2, 4) or bool(pixel_format.has_palette)


def composite_over_black(rgba: NDArray[Any]) -> NDArray[Any]:
    """(H, W, 4) uint8 -> (H, W, 3) uint8: the image over a black background."""
    rgb, alpha = rgba[..., :3], rgba[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(rgb)
    composite: NDArray[Any] = (rgb.astype(np.uint16) * alpha // 255).astype(np.uint8)
    return composite


def deinterlace(pixels: NDArray[Any]) -> NDArray[Any]:
    """(H, W, 3) -> (H, W, 3) uint8: odd lines, recorded 20 ms later, become the mean of their neighbors.

    Without this a moving mouth shows comb artifacts. Motion-adaptive filters keep static regions sharper, at
    ten times the cost.
    """
    out = pixels.copy()
    above, below = pixels[0:-2:2].astype(np.uint16), pixels[2::2]
    out[1:-1:2] = (above[: len(below)] + below[: len(above)] + 1) >> 1
    if len(pixels) % 2 == 0:
        out[-1] = pixels[-2]
    return out
