"""Overlap-add of windowed frames."""

from torch import Tensor
from torch.nn import functional as F


def overlap_add(frames: Tensor, hop_length: int) -> Tensor:
    """Sum frames `hop_length` samples apart: (B, win_length, T) -> (B, win_length + (T - 1) * hop_length)."""
    win_length, n_frames = frames.shape[1:]
    length = win_length + (n_frames - 1) * hop_length
    return F.fold(frames, (1, length), (1, win_length), stride=(1, hop_length))[:, 0, 0]
