"""One decoded frame -> upright RGB with square pixels.

Knows the frame's own oddities (rotation, pixel aspect, interlacing, transparency, bit depth); knows
nothing of time.
"""

from fractions import Fraction
from typing import Any

import numpy as np

# Pixel aspects outside this range are header noise, not anamorphic pictures.
ASPECT_LIMIT = 8


def to_rgb(frame: Any, aspect: Fraction | None = None) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a decoded frame, as a player would show it.

    Args:
        frame: a decoded frame of any pixel format.
        aspect: width of a pixel over its height; the short side is stretched, so nothing is thrown away.
    """
    width, height = square_pixel_size(frame.width, frame.height, aspect)
    alpha = has_alpha(frame.format)
    # Conversion also brings 10 bits to 8, studio range (16..235) to full range, and any chroma layout to RGB.
    pixels = frame.to_ndarray(format="rgba" if alpha else "rgb24", width=width, height=height)
    if alpha:
        pixels = composite_over_black(pixels)
    if frame.interlaced_frame:
        pixels = deinterlace(pixels)
    turns = (
        round(frame.rotation / 90) % 4
    )  # the angle to apply, counter-clockwise; np.rot90 turns the same way
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def square_pixel_size(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Width and height that show pixels of this aspect as squares."""
    if not aspect or aspect == 1 or not Fraction(1, ASPECT_LIMIT) <= aspect <= ASPECT_LIMIT:
        return width, height
    if aspect > 1:
        return round(width * aspect), height
    return width, round(height / aspect)


def has_alpha(pixel_format: Any) -> bool:
    """Whether a pixel format has transparency: 2 or 4 components, or a palette."""
    return len(pixel_format.components) in (2, 4) or pixel_format.has_palette


def composite_over_black(rgba: np.ndarray) -> np.ndarray:
    """(H, W, 4) uint8 -> (H, W, 3) uint8: the picture over black."""
    rgb, alpha = rgba[..., :3], rgba[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(rgb)
    return (rgb.astype(np.uint16) * alpha // 255).astype(np.uint8)


def deinterlace(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (H, W, 3) uint8: odd lines, taken 20 ms later, become the mean of their neighbours.

    Without this a moving mouth has comb teeth. Filters that look for movement keep still parts sharper, at
    ten times the cost.
    """
    out = pixels.copy()
    above, below = pixels[0:-2:2].astype(np.uint16), pixels[2::2]
    out[1:-1:2] = (above[: len(below)] + below[: len(above)] + 1) >> 1
    if len(pixels) % 2 == 0:
        out[-1] = pixels[-2]
    return out
