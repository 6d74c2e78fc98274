"""The clocks: one video rate, one sound rate, and every other rate as a whole number per video frame.

Knows numbers only, no tensors and no files.
"""

from __future__ import annotations

VIDEO_FPS = 25
"""Frames a second of every roi; AV-HuBERT (Shi et al. 2022) was trained at this rate."""

SAMPLE_RATE = 16_000
"""Samples a second of every wav the models see."""


def per_video_frame(rate: float) -> int:
    """How many ticks of a clock of `rate` Hz fall into one video frame (100 Hz mel -> 4).

    Raises:
        ValueError: when the clock does not fit a whole number of times into a video frame.
    """
    ticks = rate / VIDEO_FPS
    if ticks < 1 or ticks != int(ticks):
        raise ValueError(
            f"rate must be a whole multiple of {VIDEO_FPS} Hz, got {rate:g} Hz ({ticks:g} per video frame); "
            "choose a hop_length that gives one, as 320 at 16 kHz (50 Hz) does."
        )
    return int(ticks)


SAMPLES_PER_FRAME = per_video_frame(SAMPLE_RATE)
"""Samples of a wav for each video frame: 640."""
