"""Which source frame each output frame at 25 fps shows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lip2speech.video.frame_rate import (
    FRAME_US,
    MICROSECONDS,
    ConstantFrameRateResampler,
    JoinedClock,
    OnlineFrameRateResampler,
)


def shown(times: list[int], last: int = FRAME_US) -> list[int]:
    """Index of the source frame of every output frame."""
    grid, out = ConstantFrameRateResampler(), []
    for k, time in enumerate(times):
        out += [k - 1] * grid.push(time)
    return out + [len(times) - 1] * grid.finish(last)


def reference_shown(times: list[int], last: int) -> list[int]:
    """The rule per output frame: the nearest source frame (the earlier of two), at most one frame early."""
    total = max(1, (times[-1] + last - times[0] + FRAME_US // 2) // FRAME_US)
    out = []
    for n in range(total):
        now, k = times[0] + n * FRAME_US, 0
        while k + 1 < len(times) and now > max((times[k] + times[k + 1]) // 2, times[k + 1] - FRAME_US):
            k += 1
        out.append(k)
    return out


def test_25_fps_passes_through() -> None:
    assert shown([k * FRAME_US for k in range(10)]) == list(range(10))


def test_jitter_of_19_ms_passes_through() -> None:
    times = [k * FRAME_US + (19_000 if k % 2 else -19_000 * (k > 0)) for k in range(10)]
    assert shown(times) == list(range(10))


def test_12_and_a_half_fps_shows_every_frame_twice() -> None:
    assert shown([k * 2 * FRAME_US for k in range(5)], last=2 * FRAME_US) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_50_fps_shows_every_second_frame() -> None:
    assert shown([k * FRAME_US // 2 for k in range(10)], last=FRAME_US // 2) == [0, 2, 4, 6, 8]


def test_a_long_frame_does_not_end_more_than_one_output_frame_early() -> None:
    assert shown([0, 10 * FRAME_US]) == [0] * 10 + [1]


def test_a_single_frame_is_shown_once_however_short() -> None:
    assert shown([123], last=0) == [0]


def test_no_source_frames_give_no_output_frames() -> None:
    assert ConstantFrameRateResampler().finish(FRAME_US) == 0


def test_timestamps_must_increase() -> None:
    grid = ConstantFrameRateResampler()
    grid.push(100)
    with pytest.raises(ValueError, match="timestamps must increase, got 100 after 100"):
        grid.push(100)


@pytest.mark.parametrize("fps", [12, 15, 23.976, 24, 25, 29.97, 30, 48, 50, 59.94, 60])
def test_the_number_of_output_frames_is_25_times_the_duration(fps: float) -> None:
    times = [round(k * MICROSECONDS / fps) for k in range(200)]
    assert abs(len(shown(times, last=round(MICROSECONDS / fps))) - 25 * 200 / fps) <= 0.51


@settings(deadline=None)
@given(
    st.lists(st.integers(1_000, 300_000), min_size=1, max_size=40),
    st.integers(FRAME_US, 300_000),
    st.integers(0, 10**9),
)
def test_counts_equal_the_reference_implementation(steps: list[int], last: int, start: int) -> None:
    times = [start + sum(steps[:k]) for k in range(len(steps))]
    assert shown(times, last) == reference_shown(times, last)


def shown_live(times: list[int]) -> list[int]:
    """Index of the live frame of every output frame so far; late frames show none."""
    grid, out, last = OnlineFrameRateResampler(), [], 0
    for k, time in enumerate(times):
        if (counts := grid.push(time)) is not None:
            out += [last] * counts[0] + [k] * counts[1]
            last = k
    return out


@pytest.mark.parametrize("fps", [12.5, 15, 25])
def test_live_frames_are_shown_as_in_a_file(fps: float) -> None:
    times = [round(k * MICROSECONDS / fps) for k in range(20)]
    known = shown_live(times)
    assert known == shown(times)[: len(known)]
    assert len(known) * FRAME_US > times[-1]  # the last frame is shown immediately


def test_live_frames_above_25_fps_are_dropped() -> None:
    assert shown_live([k * FRAME_US // 2 for k in range(9)]) == [
        0,
        1,
        3,
        5,
        7,
    ]  # 50 fps: half an output frame apart


def test_late_and_duplicate_live_frames_are_not_shown() -> None:
    assert shown_live([0, FRAME_US, FRAME_US, 0, 2 * FRAME_US]) == [0, 1, 4]


def test_a_live_frame_after_a_pause_does_not_fill_the_pause() -> None:
    assert shown_live([0, 50 * FRAME_US]).count(1) <= 2


@given(
    st.lists(st.integers(-MICROSECONDS, MICROSECONDS), min_size=1, max_size=40), st.integers(0, MICROSECONDS)
)
@settings(max_examples=50)
def test_the_number_of_live_output_frames_follows_the_timestamps(steps: list[int], start: int) -> None:
    times, grid, total = [start], OnlineFrameRateResampler(), 0
    for step in steps:
        times.append(times[-1] + step)
    for k, time in enumerate(times):
        counts = grid.push(time)
        newest = max(times[:k], default=None)
        assert (counts is None) == (newest is not None and time <= newest) or k == 0
        total += sum(counts or (0, 0))
        assert total == (max(times[: k + 1]) - start + FRAME_US // 2) // FRAME_US + 1
        assert counts is None or min(counts) >= 0


def test_timestamps_that_start_again_go_on_after_the_last_frame() -> None:
    clock = JoinedClock()
    times = [*range(1_000_000, 2_000_000, 40_000), *range(0, 1_000_000, 20_000), *range(0, 400_000, 100_000)]
    steps = np.diff([clock(time) for time in times])
    assert steps.tolist() == [40_000] * 25 + [20_000] * 50 + [100_000] * 3
    assert clock.n_restarts == 2


def test_frames_out_of_order_do_not_start_again() -> None:
    clock = JoinedClock()
    times = [0, 40_000, 200_000, 20_000, 240_000]
    assert [clock(time) for time in times] == times
    assert clock.n_restarts == 0
