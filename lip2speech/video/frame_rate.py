"""Source timestamps -> exactly 25 fps: which source frame each 40 ms output frame shows.

Times are integer microseconds, so no float rounding decides between two frames.

    source frames   |----a----|--b--|-------------c------------|---
    output frames    0    1    2    3    4    5    6 ...
    shows            a    a    b    c    c ...

An output frame shows the source frame nearest in time, but no source frame is shown more than one output
frame before its own timestamp: a ten-second still image does not end five seconds early.
"""

from lip2speech.constants import VIDEO_FPS

MICROSECONDS = 1_000_000
FRAME_US = MICROSECONDS // VIDEO_FPS
"""Microseconds per output frame."""
MIN_RESTART_US = MICROSECONDS // 5  # timestamps that go back by less are out of order, and not another file
MAX_RESTART_STEP_US = MICROSECONDS // 5  # from the last frame of a file to the first of the next one


class JoinedClock:
    """Timestamps of files joined end to end -> one clock: where they start again, time goes on.

    Attributes:
        offset: microseconds added to the timestamps of the present file.
        n_restarts: how often the timestamps went back by more than 0.2 s.
    """

    def __init__(self) -> None:
        self.offset = self.n_restarts = 0
        self._previous: int | None = None
        self._step = FRAME_US

    def __call__(self, time: int) -> int:
        """A timestamp in microseconds, in the order of the file -> the same on the one clock."""
        time += self.offset
        step = time - self._previous if self._previous is not None else 0
        if step < -MIN_RESTART_US:
            self.offset += self._step - step
            time += self._step - step
            self.n_restarts += 1
        elif step > 0:
            self._step = min(step, MAX_RESTART_STEP_US)
        self._previous = time if self._previous is None else max(time, self._previous)
        return time


class ConstantFrameRateResampler:
    """Number of output frames for each source frame: `push` timestamps in increasing order, then `finish`."""

    def __init__(self) -> None:
        self.start: int | None = None  # timestamp of the first source frame, which is output frame 0
        self.previous = 0
        self.n_shown = 0  # output frames so far

    def push(self, time: int) -> int:
        """Number of output frames for the source frame before the one at `time` (0 for the first)."""
        if self.start is None:
            self.start = self.previous = time
            return 0
        if time <= self.previous:
            raise ValueError(f"timestamps must increase, got {time} after {self.previous}.")
        switch = max((self.previous + time) // 2, time - FRAME_US)
        self.previous = time
        return self._fill((switch - self.start) // FRAME_US + 1)

    def finish(self, duration: int) -> int:
        """Number of output frames for the last source frame, of this duration; at least one in all."""
        if self.start is None:
            return 0
        total = (self.previous + duration - self.start + FRAME_US // 2) // FRAME_US
        return self._fill(max(1, total))

    def _fill(self, until: int) -> int:
        count = max(0, until - self.n_shown)
        self.n_shown += count
        return count


class OnlineFrameRateResampler:
    """The same for live frames, each of which must be shown at once.

    A source frame fills every output frame up to 20 ms after its timestamp; those since the previous source
    frame are split by the rule above. So no output frame waits for the next source frame.
    """

    def __init__(self) -> None:
        self.start: int | None = None
        self.previous = 0
        self.n_shown = 0

    def push(self, time: int) -> tuple[int, int] | None:
        """A source frame at `time`: number of output frames for the previous one and for this one.

        None if `time` is not after the previous timestamp: the frame is too late to be shown.
        """
        if self.start is None:
            self.start = self.previous = time
        elif time <= self.previous:
            return None
        switch = max((self.previous + time) // 2, time - FRAME_US) - self.start
        until = max((time - self.start + FRAME_US // 2) // FRAME_US + 1, self.n_shown)
        boundary = min(max(switch // FRAME_US + 1, self.n_shown), until) if self.n_shown else 0
        counts = boundary - self.n_shown, until - boundary
        self.previous, self.n_shown = time, until
        return counts
