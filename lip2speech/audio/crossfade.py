"""Where sound begins, ends or is joined: 10 ms fades, never a click.

What is not to be heard becomes silence or a soft tone. Knows sounds and instants (video frames), no model.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from lip2speech.constants import SAMPLE_RATE, per_video_frame

PER_FRAME = per_video_frame(SAMPLE_RATE)
FADE_SAMPLES = 160  # 10 ms
TONE_HZ, TONE_LEVEL = 220.0, 0.02  # a low, soft hum (-34 dB): told apart from speech at once, and no alarm

LowConfidenceMode = Literal["speak", "tone", "silence"]
"""What becomes of speech that the model is not sure of."""


def mute(wav: Tensor, start: int, gaps: Sequence[tuple[float, float]]) -> Tensor:
    """Silence, with 10 ms fades, where there was no face: a voice must not speak from a wrong crop.

    Args:
        wav: (T_a,), the sound of frame `start` and those after it.
        gaps: (start_s, end_s) from the beginning of the video.
    """
    loud = torch.ones_like(wav)
    for begin, end in gaps:
        first, last = (round(t * SAMPLE_RATE) - start * PER_FRAME for t in (begin, end))
        if last > 0 and first < len(wav):
            loud[max(0, first) : last] = 0
    if loud.all():
        return wav
    box = torch.ones(1, 1, 2 * FADE_SAMPLES + 1)
    spread = torch.nn.functional.conv1d(1 - loud[None, None], box, padding=FADE_SAMPLES)[0, 0]
    return wav * (1 - (spread / FADE_SAMPLES).clamp(0, 1))


def join_windows(windows: Iterable[Tensor], overlap: int) -> Iterator[Tensor]:
    """Sounds (T_i,) of which each begins `overlap` samples before the last one's end -> pieces of one sound.

    The join lies at the quietest 10 ms of the middle of the overlap, with a linear fade.
    """
    tail: Tensor | None = None
    for wav in windows:
        joined = wav if tail is None else blend(tail, wav)
        end = max(0, len(joined) - overlap)
        if end:
            yield joined[:end]
        tail = joined[end:]
    if tail is not None:
        yield tail


def blend(old: Tensor, new: Tensor) -> Tensor:
    """`new` (T_a,) with its beginning taken from `old` (T_o,), which it repeats, up to the quietest place."""
    shared = len(old)
    if len(new) <= shared:  # nothing that `old` has not said
        return old
    if shared < FADE_SAMPLES:
        return torch.cat([old, new[shared:]])
    loudness = (old.abs() + new[:shared].abs()).unfold(0, FADE_SAMPLES, FADE_SAMPLES).sum(1)
    quarter = shared // 4
    first = quarter // FADE_SAMPLES
    last = max(first + 1, (shared - quarter) // FADE_SAMPLES)
    join = (first + int(loudness[first:last].argmin())) * FADE_SAMPLES
    faded = slice(join, join + FADE_SAMPLES)
    middle = torch.lerp(old[faded], new[faded], torch.linspace(0, 1, FADE_SAMPLES))
    return torch.cat([old[:join], middle, new[join + FADE_SAMPLES :]])


def fade_out(wav: Tensor) -> Tensor:
    """(n,) whose last 10 ms fall to silence."""
    size = min(FADE_SAMPLES, len(wav))
    return torch.cat([wav[: len(wav) - size], wav[len(wav) - size :] * torch.linspace(1, 0, size)])


class GainEnvelope:
    """Lets speech through instant by instant, or puts silence or a soft tone in its place.

    Silence for the instants that showed no face; `unsure` says what those become that are not sure.
    """

    def __init__(self, unsure: LowConfidenceMode = "speak") -> None:
        self.unsure = unsure
        self.goals: deque[tuple[float, float]] = deque()  # of each instant: how loud speech and tone are
        self.place = 0  # samples of the first instant that are already said
        self.levels = [1.0, 0.0]
        self.phase = 0  # samples since the tone's last whole turn; it goes on where it was broken off

    def add(self, seen: bool, sure: bool = True) -> None:
        """One more instant: whether it showed a face, and whether what is said there is sure."""
        speech = seen and (sure or self.unsure == "speak")
        self.goals.append((float(speech), float(seen and not speech and self.unsure == "tone")))

    def rest(self) -> None:
        """What comes next begins in silence."""
        self.levels = [0.0, 0.0]

    def __call__(self, wav: Tensor) -> Tensor:
        """The next samples (n,), faded."""
        parts = []
        while len(wav):
            assert self.goals, "a speaker says no more than it was shown"
            count = min(len(wav), PER_FRAME - self.place)
            speech, tone = self.goals[0]
            part = wav[:count] * self.ramp(0, count, speech)
            if tone or self.levels[1]:
                part = part + self.ramp(1, count, tone) * self.tone(count)
            parts.append(part)
            wav, self.place = wav[count:], self.place + count
            if self.place == PER_FRAME:
                self.goals.popleft()
                self.place = 0
        return torch.cat(parts) if parts else torch.zeros(0)

    def ramp(self, which: int, count: int, goal: float) -> Tensor:
        """Gains (count,) from the level now towards `goal`, at most 1 / FADE_SAMPLES a sample."""
        level, steps = self.levels[which], torch.arange(1, count + 1) / FADE_SAMPLES
        gains = (level + steps).clamp_max(goal) if goal > level else (level - steps).clamp_min(goal)
        self.levels[which] = float(gains[-1])
        return gains

    def tone(self, count: int) -> Tensor:
        """The next samples (count,) of the tone."""
        turns = (self.phase + torch.arange(count)) * (TONE_HZ / SAMPLE_RATE)
        self.phase = (self.phase + count) % SAMPLE_RATE
        return TONE_LEVEL * torch.sin(2 * math.pi * turns)
