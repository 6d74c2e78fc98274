"""Windows of mouth crops: how a video of any length is cut for a model, and how the audio is joined again.

    window n     |--context--|----hop----|-lookahead-|
    window n+1               |--context--|----hop----|-lookahead-|

Of each window, `hop` new frames are final; the `lookahead` frames after them are rendered again by the next
window. Files use large windows without context (the default model: hop 100, lookahead 50), live streams small
ones (context 60, hop 5, lookahead 10), causal models chunks (hop 4, no lookahead). Memory is bounded by one
window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lip2speech.audio.crossfade import FADE_SAMPLES, crossfade
from lip2speech.confidence.features import FEATURES, FrameFeatures
from lip2speech.constants import SAMPLES_PER_FRAME
from lip2speech.video.crop import MouthCrop


@dataclass(frozen=True)
class Window:
    """Consecutive mouth crops, of which some are final.

    Attributes:
        crops: T of them.
        start: frame index of the first one in the video.
        context: how many of them are already final.
        hop: how many after those become final now; the rest is lookahead.
    """

    crops: Sequence[MouthCrop]
    start: int
    context: int
    hop: int

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """(T, 96, 96) uint8."""
        return np.stack([crop.pixels for crop in self.crops])


class WindowBuffer:
    """Collects crops until a window is due.

    Args:
        hop, lookahead, context: in frames, as in the picture above.
    """

    def __init__(self, hop: int, lookahead: int = 0, context: int = 0) -> None:
        self.hop, self.lookahead, self.context = hop, lookahead, context
        self._crops: deque[MouthCrop] = deque()
        self._first = 0  # frame index of the first of them
        self._final = 0  # frames that are final
        self._new = 0  # frames since the last window

    def push(self, crop: MouthCrop) -> Window | None:
        """The next crop -> a window, if one is due."""
        self._crops.append(crop)
        self._new += 1
        pending = self._first + len(self._crops) - self._final
        return self._window(self.hop) if pending == self.hop + self.lookahead else None

    def finish(self) -> Window | None:
        """No more crops -> a last window, if there are frames that no window held; all of it is final."""
        pending = self._first + len(self._crops) - self._final
        return self._window(pending) if self._new else None

    def _window(self, hop: int) -> Window:
        self._drop(self._final - self.context)
        window = Window(tuple(self._crops), self._first, self._final - self._first, hop)
        self._final, self._new = self._final + hop, 0
        self._drop(self._final - self.context)
        return window

    def _drop(self, first: int) -> None:
        """Forget the crops before frame `first`."""
        while self._first < first and self._crops:
            self._crops.popleft()
            self._first += 1


def windows(crops: Iterable[MouthCrop], size: int, overlap: int) -> Iterator[Window]:
    """Windows of a whole video: `size` frames, of which the last `overlap` are lookahead and the others the
    hop."""
    buffer = WindowBuffer(size - overlap, overlap)
    for crop in crops:
        if (window := buffer.push(crop)) is not None:
            yield window
    if (window := buffer.finish()) is not None:
        yield window


class RenderedFrames(NamedTuple):
    """Audio of T video frames, with what post-processing needs to know about each of them.

    Attributes:
        wav: (n,) float32; 640 T samples, except where a live vocoder delivers some of them later.
        features: of T frames.
        detected, visible: (T,) bool, see `MouthCrop`.
    """

    wav: Tensor
    features: FrameFeatures
    detected: Tensor
    visible: Tensor

    def cut(self, first: int, last: int | None = None) -> RenderedFrames:
        """Frames first .. last - 1 with their samples."""
        frames, samples = (
            slice(first, last),
            slice(first * SAMPLES_PER_FRAME, last and last * SAMPLES_PER_FRAME),
        )
        features = FrameFeatures(*(x[frames] for x in self.features))
        return RenderedFrames(self.wav[samples], features, self.detected[frames], self.visible[frames])


NOTHING = RenderedFrames(
    torch.zeros(0),
    FrameFeatures(torch.zeros(0, len(FEATURES) + 1), torch.zeros(0)),
    torch.zeros(0, dtype=torch.bool),
    torch.zeros(0, dtype=torch.bool),
)


def rendered(window: Window, wav: Tensor, features: FrameFeatures) -> RenderedFrames:
    """All frames of a window."""
    detected, visible = ([getattr(crop, name) for crop in window.crops] for name in ("detected", "visible"))
    return RenderedFrames(wav, features, torch.tensor(detected), torch.tensor(visible))


class WindowJoiner:
    """Joins the renderings of overlapping windows.

    Args:
        overlap: lookahead frames in which neighbours may be joined; the features of these frames are the
            older window's in the first half and the newer one's in the second. With 0, a 10 ms fade at the
            first frame that becomes final joins them.
    """

    def __init__(self, overlap: int = 0) -> None:
        self.overlap = overlap
        self._fade = overlap * SAMPLES_PER_FRAME or FADE_SAMPLES
        self._tail = NOTHING

    def __call__(self, window: Window, wav: Tensor, features: FrameFeatures) -> RenderedFrames:
        """The next window, wav (640 T,) and features of T frames -> its final frames."""
        new, tail = rendered(window, wav, features).cut(window.context), self._tail
        if len(tail.wav):
            shared = min(self.overlap, len(tail.detected))
            older = shared - shared // 2
            new = new._replace(
                wav=crossfade(tail.wav[: self._fade], new.wav),
                features=FrameFeatures(
                    *(
                        torch.cat([old[:older], x[older:]])
                        for old, x in zip(tail.features, new.features, strict=True)
                    )
                ),
            )
        self._tail = new.cut(window.hop)
        return new.cut(0, window.hop)

    def finish(self) -> RenderedFrames:
        """The lookahead frames of the last window, if none came after it."""
        tail, self._tail = self._tail, NOTHING
        return tail
