"""How much of a mouth can be seen in its crop, whatever the mouth does: numpy in, numpy out.

A face far away, out of focus, in the dark or in haze gives a crop without fine steps of gray; sensor noise
has such steps as well and shows nothing. So steps are counted between means of 2x2 pixels, less what noise
would leave of the steps between single ones. Light and contrast count, for they are what a model gets.
"""

import numpy as np

TYPICAL_STEP = 0.02
"""The step (of 0..1, root mean square) that is worth a half; a sharp face in good light has 0.035."""


def detail(roi: np.ndarray) -> np.ndarray:
    """Mouth crops (T, H, W) uint8 -> how much can be seen in each, (T,) float32, 0 (nothing) to below 1.

    White noise of variance s has steps of 2 s, and of s / 2 between means of 2x2 pixels: a quarter. A smooth
    picture has four times the steps there, of which the subtraction takes a sixteenth.
    """
    height, width = roi.shape[1:]
    pixels = roi[:, : height // 2 * 2, : width // 2 * 2].astype(np.float32) / 255
    rows = pixels[:, ::2] + pixels[:, 1::2]
    means = (rows[:, :, ::2] + rows[:, :, 1::2]) / 4
    size = np.sqrt(np.maximum(0, steps(means) - steps(pixels) / 4))
    return size / (size + TYPICAL_STEP)


def steps(pixels: np.ndarray) -> np.ndarray:
    """(T, H, W) -> (T,): mean square of the steps to the next row and to the next column."""
    # Written in place: on longer clips memory is what takes the time.
    down, right = pixels[:, 1:] - pixels[:, :-1], pixels[:, :, 1:] - pixels[:, :, :-1]
    return (np.square(down, out=down).mean((1, 2)) + np.square(right, out=right).mean((1, 2))) / 2
