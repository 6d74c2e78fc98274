"""Source times -> exactly 25 frames per second: which source frame each 40 ms instant shows.

Times are whole microseconds, so that no sum of floats decides between two frames.

    source   |----a----|--b--|-------------c------------|---
    instants 0    1    2    3    4    5    6 ...
    shown    a    a    b    c    c ...

An instant shows the frame nearest in time, but no frame is shown more than one instant before its own
time: a still picture of ten seconds does not change five seconds early.
"""

from lip2speech.constants import VIDEO_FPS

MICROSECONDS = 1_000_000
FRAME_US = MICROSECONDS // VIDEO_FPS


class ConstantFrameRateResampler:
    """Counts how often each source frame is shown; `push` frames in order of time, then `finish`."""

    def __init__(self) -> None:
        self.start: int | None = None  # time of the first frame, which is instant 0
        self.previous = 0
        self.shown = 0  # instants given out so far

    def push(self, time: int) -> int:
        """A frame at `time` begins: how many instants the frame before it fills (0 for the first)."""
        if self.start is None:
            self.start = self.previous = time
            return 0
        if time <= self.previous:
            raise ValueError(f"times must rise, got {time} after {self.previous}.")
        takes_over = max((self.previous + time) // 2, time - FRAME_US)
        self.previous = time
        return self._fill((takes_over - self.start) // FRAME_US + 1)

    def finish(self, duration: int) -> int:
        """The last frame lasts for `duration`: how many instants it fills; of a whole video at least one."""
        if self.start is None:
            return 0
        total = (self.previous + duration - self.start + FRAME_US // 2) // FRAME_US
        return self._fill(max(1, total))

    def _fill(self, until: int) -> int:
        count = max(0, until - self.shown)
        self.shown += count
        return count


class OnlineFrameRateResampler:
    """The same clock for frames that come one by one and must be shown at once.

    A frame takes every instant up to 20 ms after its own time; those that it has jumped over go by the rule
    above, to it or to the frame before. So no instant waits for the next frame.
    """

    def __init__(self) -> None:
        self.start: int | None = None
        self.previous = 0
        self.shown = 0

    def push(self, time: int) -> tuple[int, int] | None:
        """A frame at `time`: how many instants the one before it still fills, and how many this one does.

        None when its time does not come after that of the last frame: it is too late to be shown.
        """
        if self.start is None:
            self.start = self.previous = time
        elif time <= self.previous:
            return None
        takes_over = max((self.previous + time) // 2, time - FRAME_US) - self.start
        until = (time - self.start + FRAME_US // 2) // FRAME_US + 1
        until = max(until, self.shown)
        nearer = self.shown if not self.shown else min(max(takes_over // FRAME_US + 1, self.shown), until)
        counts = nearer - self.shown, until - nearer
        self.previous, self.shown = time, until
        return counts
