"""The pitch head: F0 and voicing at 100 Hz."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from lip2speech.constants import MEL_RATE, UNIT_RATE
from lip2speech.models.heads.blocks import SubPixelUpsample

MEDIAN_INDEX = -2
"""Index of the median F0 in a speaker embedding, whose last three numbers are F0 quantiles."""

BlockRunner = Callable[[Iterable[nn.Module], Tensor], Tensor]
"""Runs (B, T, C) through blocks over time, in one pass or step by step."""

BlockFactory = Callable[[int], nn.ModuleList]


class PitchHead(nn.Module):
    """F0 and voicing: a base F0 from the speaker embedding plus an offset predicted from the lips.

    The base F0 is initialized to the median of the speaker embedding's F0 quantiles.

    Args:
        hidden_dim: C of the input.
        pitch_dim: channels of the blocks.
        speaker_dim: S.
        make_blocks: returns residual blocks over time of a given width.

    Shape:
        forward: x (B, 2T, C), speaker (B, S), run -> (B, 2, 4T): log2(F0 / 128 Hz), voicing logit
    """

    def __init__(self, hidden_dim: int, pitch_dim: int, speaker_dim: int, make_blocks: BlockFactory):
        super().__init__()
        self.in_proj = SubPixelUpsample(hidden_dim, pitch_dim, MEL_RATE // UNIT_RATE)
        self.blocks = make_blocks(pitch_dim)
        self.out = nn.Linear(pitch_dim, 2)
        self.base_f0 = nn.Linear(speaker_dim, 1)
        nn.init.zeros_(self.base_f0.weight)
        nn.init.zeros_(self.base_f0.bias)
        if speaker_dim > -MEDIAN_INDEX:
            nn.init.ones_(self.base_f0.weight[:, MEDIAN_INDEX])

    def forward(self, x: Tensor, speaker: Tensor, run: BlockRunner) -> Tensor:
        """(B, 2T, C), (B, S) -> (B, 2, 4T)."""
        offset, voicing = self.out(run(self.blocks, self.in_proj(x))).float().unbind(-1)
        return torch.stack([offset + self.base_f0(speaker).float(), voicing], 1)
