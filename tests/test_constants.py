"""Rates (lip2speech/constants.py)."""

import pytest

from lip2speech.constants import SAMPLE_RATE, VIDEO_FPS, per_video_frame


@pytest.mark.parametrize(("rate", "steps"), [(25, 1), (50, 2), (75, 3), (100, 4), (16_000, 640), (100.0, 4)])
def test_a_multiple_of_the_video_rate_has_whole_steps_per_frame(rate: float, steps: int) -> None:
    assert per_video_frame(rate) == steps


@pytest.mark.parametrize("rate", [0, 10, 24, 30, 80, -25, 16_001])
def test_another_rate_is_an_error(rate: float) -> None:
    with pytest.raises(ValueError, match=f"got {rate} Hz"):
        per_video_frame(rate)


def test_one_video_frame_is_640_samples() -> None:
    assert per_video_frame(SAMPLE_RATE) * VIDEO_FPS == SAMPLE_RATE
