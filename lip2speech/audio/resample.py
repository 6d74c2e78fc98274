"""Sample-rate conversion by windowed sinc (torchaudio's), in one pass or streaming."""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from torch import Tensor

MAX_RATIO = 1000
"""Odd sample rates use the nearest ratio of integers up to this: off by 1e-6 at most."""
N_ZERO_CROSSINGS, ROLLOFF = 6, 0.99  # of torchaudio's window, its defaults


def resample(wav: Tensor, rate: int, new_rate: int) -> Tensor:
    """(..., T) at `rate` -> (..., ceil(T * new_rate / rate)) at `new_rate`."""
    if rate == new_rate:
        return wav
    from torchaudio.functional import resample as sinc_resample

    ratio = _ratio(rate, new_rate)
    resampled: Tensor = sinc_resample(wav, ratio.denominator, ratio.numerator)
    return resampled


class Resampler:
    """Streaming `resample`: all blocks together give what one pass gives.

    The state carries the window's context: `margin` past samples, and as many that still lack a future.

    Shape:
        step: (T,), state -> (T',), state; with `last`, the remaining samples
    """

    def __init__(self, rate: int, new_rate: int):
        self.rate, self.new_rate = rate, new_rate
        ratio = _ratio(rate, new_rate)
        self.old, self.new = ratio.denominator, ratio.numerator
        radius = math.ceil(N_ZERO_CROSSINGS * self.old / (min(self.old, self.new) * ROLLOFF))
        # Multiples of `old` samples are whole numbers of samples at both rates.
        self.margin = self.old * (math.ceil(radius / self.old) + 1)

    def step(self, wav: Tensor, state: Tensor | None = None, *, last: bool = False) -> tuple[Tensor, Tensor]:
        """(T,), state -> the samples that are final (T',), state."""
        if self.old == self.new:
            return wav, wav[:0]
        buffered = torch.cat([wav.new_zeros(self.margin) if state is None else state, wav])
        n_final = len(buffered) - self.margin
        if last:
            buffered = torch.cat([buffered, wav.new_zeros(self.margin)])
        else:
            n_final = max(0, n_final - self.margin) // self.old * self.old
        if not n_final:
            return wav[:0], buffered
        skip = self.margin // self.old * self.new
        new = resample(buffered[: 2 * self.margin + n_final], self.old, self.new)
        return new[skip : skip + math.ceil(n_final * self.new / self.old)], buffered[n_final:]


def _ratio(rate: int, new_rate: int) -> Fraction:
    return Fraction(new_rate, rate).limit_denominator(MAX_RATIO)
