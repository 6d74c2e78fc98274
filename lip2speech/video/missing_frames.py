"""Frames that a file should have and has not: in long gaps between its frames, and after its end."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lip2speech.constants import VIDEO_FPS

MAX_REPEATS = 12
"""Output frames (0.5 s) for which one frame of a file may stand; no speech looks the same for longer."""


class MissingFrame(np.ndarray[Any, Any]):
    """(H, W, 3) uint8: the last frame again, in a gap too long to repeat it; no face is looked for in it."""


def repeats(pixels: NDArray[Any], count: int) -> list[NDArray[Any]]:
    """One decoded frame as `count` output frames; in a long gap all but the first are missing."""
    if count <= MAX_REPEATS:
        return [pixels] * count
    return [pixels, *[pixels.view(MissingFrame)] * (count - 1)]


def frames_after_the_end(container: Any, stream: Any, packets: int, span_s: float) -> int:
    """Output frames that the index or the header promises after the last frame that was decoded.

    An index (mp4) is believed where it lists more packets than were read. Without one, a header's duration
    is believed only for a file that holds nothing but this video, as audio may be longer.

    Args:
        container: PyAV's, open.
        stream: its video stream.
        packets: that were read, of those with data.
        span_s: from the first to the last frame decoded.
    """
    entries = stream.index_entries
    if len(entries) > packets:
        times = [entry.timestamp for entry in entries]
        expected_s = float((max(times) - min(times)) * stream.time_base)
    elif "matroska" in container.format.name and len(container.streams) == 1:
        expected_s = (container.duration or 0) / 1_000_000 - 1 / VIDEO_FPS
        if expected_s - span_s < MAX_REPEATS / VIDEO_FPS:
            return 0
    else:
        return 0
    return max(0, round((expected_s - span_s) * VIDEO_FPS))
