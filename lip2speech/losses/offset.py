"""Loss against a target that may be a few steps early or late: audio/video offsets of real corpora vary by
clip.

The best offset per clip is found without a gradient; the loss is then taken at that offset.
"""

from __future__ import annotations

import torch
from torch import Tensor


def time_shift(target: Tensor, offsets: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Read a target `offsets` steps later: out[b, ..., t] = target[b, ..., t + offsets[b]].

    Positions outside the valid steps repeat the first or last one, so no offset reads padding; padding itself
    is left in place.

    Args:
        target: (B, ..., T).
        offsets: (B,) in steps.
        lengths: (B,) valid steps of each clip; all T by default.
    """
    steps = torch.arange(target.shape[-1], device=target.device)[None]
    ends = torch.full_like(offsets, target.shape[-1]) if lengths is None else lengths.to(offsets)
    shifted = (steps + offsets[:, None]).clamp_min(0).minimum(ends[:, None] - 1)
    index = torch.where(steps < ends[:, None], shifted, steps)
    index = index.reshape(len(offsets), *[1] * (target.ndim - 2), -1).expand_as(target)
    return target.gather(-1, index)


def best_offsets(
    predicted: Tensor, target: Tensor, mask: Tensor, *, max_offset: int, penalty: float
) -> Tensor:
    """Offset (B,) in steps, within +-max_offset, with the lowest L1 + penalty * |offset|. No gradient.

    Args:
        predicted: (B, C, T).
        target: (B, C, T).
        mask: (B, 1, T), 1 at valid steps.
        max_offset: largest offset tried, in steps.
        penalty: added per step of offset.
    """
    lengths = mask.sum((1, 2)).long()
    with torch.no_grad():
        costs = []
        for offset in range(-max_offset, max_offset + 1):
            shifted = time_shift(target, torch.full((len(target),), offset, device=target.device), lengths)
            error = ((predicted - shifted).abs() * mask).sum((1, 2)) / (mask.sum((1, 2)) * target.shape[1])
            costs.append(error + penalty * abs(offset))
        return torch.stack(costs).argmin(0) - max_offset
