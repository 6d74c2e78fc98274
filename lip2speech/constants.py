"""Rates: one video frame rate, one audio sample rate, and every other rate a whole multiple of the video's.

Also the file name suffixes of videos. Numbers and strings only: no tensors, no files.
"""

from __future__ import annotations

VIDEO_FPS = 25
"""Frames per second of every roi, the frame rate that AV-HuBERT was trained at (Shi et al. 2022)."""

SAMPLE_RATE = 16_000
"""Samples per second of every wav that models take or return."""

MEL_RATE = 100
"""Mel frames per second."""

UNIT_RATE = 50
"""Speech units per second."""

MUX_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".ts", ".ogv", ".wmv")
"""Containers that audio can be muxed into."""

AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".m4a")
"""Audio files that speech can be written to."""

VIDEO_SUFFIXES = frozenset(
    [*MUX_SUFFIXES, ".3gp", ".flv", ".gif", ".m2ts", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".y4m"]
)
"""Files that a folder is searched for; a file given by name may have any suffix."""


def per_video_frame(rate: float) -> int:
    """Steps per video frame of a sequence at `rate` Hz (100 Hz mel -> 4).

    Raises:
        ValueError: the rate is not a whole multiple of the video frame rate.
    """
    steps = rate / VIDEO_FPS
    if steps < 1 or steps != int(steps):
        raise ValueError(
            f"rate must be a whole multiple of {VIDEO_FPS} Hz, got {rate:g} Hz ({steps:g} per video frame); "
            "choose a hop_length that gives one, as 320 at 16 kHz (50 Hz) does."
        )
    return int(steps)


SAMPLES_PER_FRAME = per_video_frame(SAMPLE_RATE)
"""Audio samples per video frame (640)."""
