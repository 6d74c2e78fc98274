"""From one sample rate to another by windowed sinc (torchaudio's), whole or piece by piece.

Knows numbers only; files are `audio.py`'s.
"""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from torch import Tensor

MAX_RATIO = (
    1000  # odd sample rates are resampled by the nearest ratio of numbers up to this: 1e-6 off at most
)
ZERO_CROSSINGS, ROLLOFF = 6, 0.99  # of torchaudio's window, its defaults


def resample(wav: Tensor, rate: int, new_rate: int) -> Tensor:
    """(..., T) at `rate` -> (..., ceil(T * new_rate / rate)) at `new_rate`, by windowed sinc."""
    if rate == new_rate:
        return wav
    from torchaudio.functional import resample as sinc

    ratio = _ratio(rate, new_rate)
    return sinc(wav, ratio.denominator, ratio.numerator)


class Resampler:
    """`resample` for a sound that comes in pieces: together they are what the whole gives.

    The window's reach is carried along: `margin` samples of the past, and as many that wait for a future.

    Shape:
        step: (T,), state -> (T',), state; with `last`, the rest
    """

    def __init__(self, rate: int, new_rate: int):
        self.rate, self.new_rate = rate, new_rate
        ratio = _ratio(rate, new_rate)
        self.old, self.new = ratio.denominator, ratio.numerator
        reach = math.ceil(ZERO_CROSSINGS * self.old / (min(self.old, self.new) * ROLLOFF))
        # Cuts at multiples of `old` fall on samples of both rates.
        self.margin = self.old * (math.ceil(reach / self.old) + 1)

    def step(self, wav: Tensor, state: Tensor | None = None, *, last: bool = False) -> tuple[Tensor, Tensor]:
        """(T,), state -> the samples that are sure by now (T',), state."""
        if self.old == self.new:
            return wav, wav[:0]
        held = torch.cat([wav.new_zeros(self.margin) if state is None else state, wav])
        body = len(held) - self.margin
        if last:
            held = torch.cat([held, wav.new_zeros(self.margin)])
        else:
            body = max(0, body - self.margin) // self.old * self.old
        if not body:
            return wav[:0], held
        skip = self.margin // self.old * self.new
        new = resample(held[: 2 * self.margin + body], self.old, self.new)
        return new[skip : skip + math.ceil(body * self.new / self.old)], held[body:]


def _ratio(rate: int, new_rate: int) -> Fraction:
    return Fraction(new_rate, rate).limit_denominator(MAX_RATIO)
