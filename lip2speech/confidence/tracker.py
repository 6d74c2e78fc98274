"""Confidence over time: frame by frame in, one number for each second out."""

from __future__ import annotations

from collections import deque

from lip2speech.confidence.calibration import FrameScore, segment_confidence, speech_weight
from lip2speech.constants import VIDEO_FPS


class ConfidenceTracker:
    """The confidence of speech while it is synthesized.

    Args:
        history_s: how many seconds are remembered; None remembers all.

    Attributes:
        seconds: the confidence of each whole second; `finish` adds the shorter last one.
    """

    def __init__(self, history_s: int | None = None) -> None:
        self.seconds: deque[float] = deque(maxlen=history_s)
        self._last: deque[FrameScore] = deque(maxlen=VIDEO_FPS)
        self._open = 0  # frames since the last whole second
        self._weight, self._sum = 0.0, 0.0

    def add(self, score: FrameScore) -> float:
        """The next frame -> the confidence of the second that ends with it."""
        self._last.append(score)
        self._open += 1
        if self._open == VIDEO_FPS:
            self._close()
        return segment_confidence(self._last)

    def finish(self) -> None:
        """No more frames: the rest becomes a shorter last second."""
        if self._open:
            self._close()

    @property
    def mean(self) -> float | None:
        """The mean over all seconds so far, weighted by their speech; None before the first one."""
        return self._sum / self._weight if self._weight else None

    def _close(self) -> None:
        scores = list(self._last)[-self._open :]
        confidence, weight = segment_confidence(scores), speech_weight(scores)
        self.seconds.append(confidence)
        self._weight, self._sum = self._weight + weight, self._sum + confidence * weight
        self._open = 0
