"""Joining, fading and muting audio without clicks: 10 ms linear fades everywhere."""

from __future__ import annotations

import math
from collections import deque
from typing import Literal

import torch
from torch import Tensor

from lip2speech.constants import SAMPLE_RATE, SAMPLES_PER_FRAME

FADE_SAMPLES = 160  # 10 ms
TONE_HZ, TONE_LEVEL = 220.0, 0.02  # a low, soft hum (-34 dB): unlike speech, and not alarming

LowConfidenceMode = Literal["keep", "tone", "mute"]
"""What replaces low-confidence speech: nothing, a soft tone, or silence."""


def crossfade(old: Tensor, new: Tensor) -> Tensor:
    """Join two renderings that overlap: (T_o,), (T_n,) -> (max(T_o, T_n),).

    `new` starts where `old` starts. The 10 ms fade lies at the quietest place in the middle half of the
    overlap.
    """
    overlap = len(old)
    if len(new) <= overlap:  # nothing beyond `old`
        return old
    if overlap < FADE_SAMPLES:
        return torch.cat([old, new[overlap:]])
    loudness = (old.abs() + new[:overlap].abs()).unfold(0, FADE_SAMPLES, FADE_SAMPLES).sum(1)
    quarter = overlap // 4
    first = quarter // FADE_SAMPLES
    last = max(first + 1, (overlap - quarter) // FADE_SAMPLES)
    start = (first + int(loudness[first:last].argmin())) * FADE_SAMPLES
    faded = slice(start, start + FADE_SAMPLES)
    middle = torch.lerp(old[faded], new[faded], torch.linspace(0, 1, FADE_SAMPLES))
    return torch.cat([old[:start], middle, new[start + FADE_SAMPLES :]])


def fade_out(wav: Tensor) -> Tensor:
    """(n,) with its last 10 ms faded to silence."""
    size = min(FADE_SAMPLES, len(wav))
    return torch.cat([wav[: len(wav) - size], wav[len(wav) - size :] * torch.linspace(1, 0, size)])


class GainEnvelope:
    """Mutes speech, or replaces it with a soft tone, video frame by video frame.

    Frames without a visible mouth are muted: a voice must not speak from a wrong crop. `mode` says what
    replaces low-confidence frames.
    """

    def __init__(self, mode: LowConfidenceMode = "keep") -> None:
        self.mode = mode
        self._targets: deque[tuple[float, float]] = deque()  # gains of speech and tone for each frame to come
        self._offset = 0  # samples of the first of these frames that have passed
        self._gains = [1.0, 0.0]
        self._phase = 0  # samples since the tone's last whole turn; continues where the tone stopped

    def add(self, mouth_visible: bool, confident: bool = True) -> None:
        """Append one video frame."""
        speech = mouth_visible and (confident or self.mode == "keep")
        tone = mouth_visible and not speech and self.mode == "tone"
        self._targets.append((float(speech), float(tone)))

    def reset(self) -> None:
        """The next sample starts from silence."""
        self._gains = [0.0, 0.0]

    def __call__(self, wav: Tensor) -> Tensor:
        """The next samples (n,), at most as many as frames were added for -> (n,)."""
        pieces = []
        while len(wav):
            assert self._targets, "more audio than video frames"
            count = min(len(wav), SAMPLES_PER_FRAME - self._offset)
            speech, tone = self._targets[0]
            piece = wav[:count] * self._gain_ramp(0, count, speech)
            if tone or self._gains[1]:
                piece = piece + self._gain_ramp(1, count, tone) * self._tone(count)
            pieces.append(piece)
            wav, self._offset = wav[count:], self._offset + count
            if self._offset == SAMPLES_PER_FRAME:
                self._targets.popleft()
                self._offset = 0
        return torch.cat(pieces) if pieces else torch.zeros(0)

    def _gain_ramp(self, which: int, count: int, target: float) -> Tensor:
        """Gains (count,) from the present one towards `target`, by at most 1 / FADE_SAMPLES a sample."""
        gain, steps = self._gains[which], torch.arange(1, count + 1) / FADE_SAMPLES
        gains = (gain + steps).clamp_max(target) if target > gain else (gain - steps).clamp_min(target)
        self._gains[which] = float(gains[-1])
        return gains

    def _tone(self, count: int) -> Tensor:
        """The next samples (count,) of the tone."""
        turns = (self._phase + torch.arange(count)) * (TONE_HZ / SAMPLE_RATE)
        self._phase = (self._phase + count) % SAMPLE_RATE
        return TONE_LEVEL * torch.sin(2 * math.pi * turns)
