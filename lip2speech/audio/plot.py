"""Images of log-mel spectrograms, colored by matplotlib (extras `eval`, `train` and `demo`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

COLORMAP = "magma"
DYNAMIC_RANGE = 8.0
"""Nats below the maximum at which the color scale starts: 70 dB."""


def mel_image(
    mel: Tensor | NDArray[Any],
    *,
    dynamic_range: float = DYNAMIC_RANGE,
    pixels_per_band: int = 4,
    pixels_per_frame: int = 2,
) -> NDArray[Any]:
    """A natural-log mel spectrogram as an RGB image, low frequencies at the bottom.

    Args:
        mel: (n_mels, T).
        dynamic_range: nats below the maximum at which the color scale starts.
        pixels_per_band: height of a mel band.
        pixels_per_frame: width of a mel frame.

    Returns:
        (n_mels * pixels_per_band, T * pixels_per_frame, 3) uint8.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib import colormaps

    levels = mel.detach().cpu().float().numpy() if isinstance(mel, Tensor) else np.asarray(mel, np.float32)
    levels = np.clip(1 + (levels - levels.max(initial=-np.inf)) / dynamic_range, 0, 1)[::-1]
    image: NDArray[Any] = colormaps[COLORMAP](levels, bytes=True)[..., :3]
    return image.repeat(pixels_per_band, 0).repeat(pixels_per_frame, 1)
