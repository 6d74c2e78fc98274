"""How sure a model is of what it says: from its heads' entropies and the picture to the probability that a
word is right.

    observe      Prediction, crops and what the codes cost -> numbers of each video frame: how undecided the
                 heads are, how far they agree, how much of the mouth can be seen, how unlike speech what
                 they predict is, and how much is said
    Calibration  weights, fitted on clips with known words (`lip2speech calibrate`) -> a frame's logit
    score        a stretch of frames -> the share of them that showed a face x sigmoid(mean logit)

A stretch is a second of sound, as the weights were fitted on the second round each word. Means are taken
over what is said: every model is sure of its pauses. The entropy of a classifier alone is overconfident (Guo
et al. 2017, "On calibration of modern neural networks"), the more so the less its input is like what it
learned from (Ovadia et al. 2019, "Can you trust your model's uncertainty?"): of a blurred mouth some models
are surer than of a sharp one, and so the picture itself is asked. Without a calibration there is no
confidence: None, never an invented number. Knows no model and no recogniser.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lip2speech.audio.crossfade import PER_FRAME, GainEnvelope, LowConfidenceMode
from lip2speech.constants import SAMPLE_RATE, VIDEO_FPS
from lip2speech.models.prediction import Prediction
from lip2speech.video.sharpness import detail

FEATURES = ("unit_entropy", "code_entropy", "head_agreement", "sharpness", "code_nll")
LOUD = -8.5
"""Mean natural-log mel between pauses (the recipe's floor is -11.5) and words (-7.5 and more)."""
QUIET = 0.01
"""What a frame of a pause counts beside a frame of speech."""

Segments = Sequence[tuple[float, float]]
"""(start_s, end_s) from the beginning of the video; may grow while it is read."""


class FrameConfidence(NamedTuple):
    """How sure a video frame is, as a logit (NaN: no face was seen), and how much of it is speech, 0 to 1."""

    logit: float
    speech: float


NO_FACE = FrameConfidence(math.nan, 1.0)
"""What was said there nobody knows."""


@dataclass(frozen=True)
class Calibration:
    """The weights of `FEATURES` in a frame's logit; a feature that a model lacks is 0 in all its frames."""

    bias: float
    unit_entropy: float = 0.0
    code_entropy: float = 0.0
    head_agreement: float = 0.0
    sharpness: float = 0.0
    code_nll: float = 0.0

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, astuple(self))):
            raise ValueError(f"a calibration holds finite numbers, got {self}; calibrate the model again.")

    def frames(self, observed: Tensor) -> list[FrameConfidence]:
        """(T, F + 1) as `observe` gives it -> T frames."""
        weights = torch.tensor([getattr(self, name) for name in FEATURES])
        logits = observed[:, :-1] @ weights + self.bias
        return [
            FrameConfidence(*pair) for pair in zip(logits.tolist(), observed[:, -1].tolist(), strict=True)
        ]


@torch.no_grad()
def observe(prediction: Prediction, roi: np.ndarray | Tensor, bits: Tensor | None = None) -> Tensor:
    """What the heads, and the crops roi (T, 96, 96), tell of each video frame of one clip (B = 1).

    bits (T,) is what it takes to tell a code of each frame, by a likelihood of codes; None without one.

    Gives (T, F + 1) on the CPU, all 0 to 1: the `FEATURES`, then how much of the frame is speech.

    units, codes: entropy as a share of the largest there can be; of the codes, the mean of all books, each
        predicted on its own: given the books before it, a wrong one looks as sure as a right one.
    agreement: the share of codes that both code heads choose.
    detail: how much can be seen in the crop (`video.quality`).
    likelihood: b of b + b0, of the bits b and those b0 that a code drawn at random has: half is no speech. A
        predicted code may cost more than one at random, so that a plain share of b0 would have no bound.
    speech: by the loudness of the mel; 1 for a model without one.
    """
    p, frames = prediction, len(roi)
    rows = dict.fromkeys(FEATURES, torch.zeros(frames)) | {"speech": torch.ones(frames)}
    rows["sharpness"] = torch.from_numpy(detail(torch.as_tensor(roi).cpu().numpy()))
    if p.mel is not None:
        rows["speech"] = torch.sigmoid(2 * (p.mel[0].mean(0) - LOUD))
    if p.unit_logits is not None:
        rows["unit_entropy"] = entropy(p.unit_logits[0], 0)
    if bits is not None:
        rows["code_nll"] = bits / (bits + math.log2(p.require("code_logits").shape[2]))
    if p.independent_code_logits is not None:
        rows["code_entropy"] = entropy(p.independent_code_logits[0], 1).mean(0)
        if p.codes is not None:
            rows["head_agreement"] = (p.independent_code_logits[0].argmax(1) == p.codes[0]).float().mean(0)
    return torch.stack([row.float().cpu().reshape(frames, -1).mean(1) for row in rows.values()], 1)


def entropy(logits: Tensor, dim: int) -> Tensor:
    """Of the distribution along `dim`, 0 (one answer) to 1 (all K alike); a logit of -inf is no answer."""
    absent = logits == -math.inf
    log_p = logits.log_softmax(dim).masked_fill(absent, 0.0)
    return -(log_p.exp() * log_p).sum(dim) / (~absent).sum(dim).clamp_min(2).double().log().to(log_p)


def score(frames: Sequence[FrameConfidence]) -> float:
    """The confidence of a stretch of frames, 0 to 1; one without a face counts as 0."""
    seen = [frame for frame in frames if not math.isnan(frame.logit)]
    if not seen:
        return 0.0
    mean = sum(frame.logit * (frame.speech + QUIET) for frame in seen) / amount(seen)
    return len(seen) / len(frames) / (1 + math.exp(-max(-50.0, mean)))


def amount(frames: Sequence[FrameConfidence]) -> float:
    """How much is said in them, in frames of speech."""
    return sum(frame.speech + QUIET for frame in frames)


class ConfidenceTracker:
    """The confidence of speech as it is said, frame by frame.

    Args:
        keep: how many seconds are remembered one by one; None: all.
    Attributes:
        seconds: the confidence of each whole second; `finish` adds the frames after the last one.
    """

    def __init__(self, keep: int | None = None) -> None:
        self.seconds: deque[float] = deque(maxlen=keep)
        self._last: deque[FrameConfidence] = deque(maxlen=VIDEO_FPS)
        self._open = 0  # frames since the last whole second
        self._said, self._sum = 0.0, 0.0

    def add(self, frame: FrameConfidence) -> float:
        """The next frame -> the confidence of the second that ends with it."""
        self._last.append(frame)
        self._open += 1
        if self._open == VIDEO_FPS:
            self._close()
        return score(self._last)

    def finish(self) -> None:
        """Nothing more is said: what is left makes a last, shorter second."""
        if self._open:
            self._close()

    @property
    def sure(self) -> float | None:
        """The mean of all seconds so far, by what is said in each; None before there are any."""
        return self._sum / self._said if self._said else None

    def _close(self) -> None:
        frames = list(self._last)[-self._open :]
        self.seconds.append(score(frames))
        self._said, self._sum = self._said + amount(frames), self._sum + score(frames) * amount(frames)
        self._open = 0


class WindowedConfidenceTracker:
    """The confidence of a video that is spoken in overlapping windows: told by windows, asked by seconds.

    Of the frames that two windows share, the older one's numbers hold in the first half, the newer one's in
    the second. No more frames are kept than a window has.

    Args:
        blind: spans without a face; each may grow while the video is read.
    """

    def __init__(self, calibration: Calibration, blind: Sequence[Segments] = ()) -> None:
        self.calibration, self.blind = calibration, blind
        self.meter = ConfidenceTracker()
        self._frames: list[FrameConfidence] = []
        self._first = 0  # the frame that the first of them belongs to

    def add(self, start: int, observed: Tensor) -> None:
        """The next window: the frames from `start` on, (T, F + 1) as `observe` gives it."""
        frames = self.calibration.frames(observed)
        for span in (span for spans in self.blind for span in spans):
            first, last = (max(0, round(t * VIDEO_FPS) - start) for t in span)
            frames[first:last] = [NO_FACE] * len(frames[first:last])
        shared = self._first + len(self._frames) - start
        if len(frames) > shared:
            kept = shared - shared // 2
            self._frames = self._frames[: start + kept - self._first] + frames[kept:]

    @property
    def confidence(self) -> tuple[float, ...]:
        """Of each second that was said."""
        return tuple(self.meter.seconds)

    @property
    def sure(self) -> float | None:
        """Of all that was said."""
        return self.meter.sure

    def say(self, wav: Tensor) -> float:
        """The confidence of the next sound (640 T,): whole seconds, but for the last."""
        count = len(wav) // PER_FRAME
        assert count <= len(self._frames), "sound comes after the window it is cut from"
        said, self._frames = self._frames[:count], self._frames[count:]
        self._first += count
        for frame in said:
            self.meter.add(frame)
        return score(said)


def replace_unsure(
    pieces: Iterable[Tensor], account: WindowedConfidenceTracker, threshold: float, unsure: LowConfidenceMode
) -> Iterator[Tensor]:
    """Pieces (640 n,) of one sound -> the same by seconds, of which those below `threshold` are replaced.

    Where no frame showed a face there is no tone either.
    """
    fader = GainEnvelope(unsure)
    for wav in by_seconds(pieces):
        confidence = account.say(wav)
        for _ in range(len(wav) // PER_FRAME):
            fader.add(confidence > 0 or unsure == "speak", confidence >= threshold)
        yield fader(wav)
    account.meter.finish()


def by_seconds(pieces: Iterable[Tensor]) -> Iterator[Tensor]:
    """Pieces (n,) of one sound -> the same sound in pieces of one second, and a shorter last one."""
    held = torch.zeros(0)
    for wav in pieces:
        held = torch.cat([held, wav])
        while len(held) >= SAMPLE_RATE:
            yield held[:SAMPLE_RATE]
            held = held[SAMPLE_RATE:]
    if len(held):
        yield held
