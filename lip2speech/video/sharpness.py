"""Sharpness of mouth crops: how much detail a crop shows, independent of what the mouth does.

A face that is far away, out of focus, in the dark or in haze gives a crop without fine steps in gray. Sensor
noise has such steps too, but shows nothing; so steps are measured between means of 2x2 pixels, minus what
noise would leave there, as estimated from the steps between single pixels. Brightness and contrast count, as
they affect the model's input.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

HALF_SHARPNESS_STEP = 0.02
"""RMS step (of gray values 0..1) that gives a sharpness of 0.5; a sharp face in good light has 0.035."""


def crop_sharpness(roi: NDArray[Any]) -> NDArray[Any]:
    """Mouth crops (T, H, W) uint8 -> sharpness of each, (T,) float32, 0 (uniform) to below 1.

    White noise of variance s has squared steps of 2 s, and of s / 2 between means of 2x2 pixels: a quarter. A
    smooth image has four times the squared steps there, of which the subtraction takes a sixteenth.
    """
    height, width = roi.shape[1:]
    pixels = roi[:, : height // 2 * 2, : width // 2 * 2].astype(np.float32) / 255
    rows = pixels[:, ::2] + pixels[:, 1::2]
    means = (rows[:, :, ::2] + rows[:, :, 1::2]) / 4
    step = np.sqrt(np.maximum(0, mean_squared_step(means) - mean_squared_step(pixels) / 4))
    sharpness: NDArray[Any] = step / (step + HALF_SHARPNESS_STEP)
    return sharpness


def mean_squared_step(pixels: NDArray[Any]) -> NDArray[Any]:
    """(T, H, W) -> (T,): mean squared difference to the next row and to the next column."""
    # In place: on longer clips memory bandwidth dominates.
    down, right = pixels[:, 1:] - pixels[:, :-1], pixels[:, :, 1:] - pixels[:, :, :-1]
    mean: NDArray[Any] = (
        np.square(down, out=down).mean((1, 2)) + np.square(right, out=right).mean((1, 2))
    ) / 2
    return mean
