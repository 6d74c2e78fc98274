"""Units of MFCC features, as in HuBERT's first iteration."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lip2speech.audio.mel import LogMel, MelConfig
from lip2speech.checkpoint import Checkpoint
from lip2speech.codecs.quantization.kmeans import nearest
from lip2speech.config import to_dict
from lip2speech.constants import UNIT_RATE
from lip2speech.data.unit_tokenizers.base import SAMPLES_PER_UNIT, weights_fingerprint

N_MFCC = 13


class MFCCTokenizer:
    """Nearest centroid of standardized MFCC with first and second differences, 50 Hz.

    Args:
        centroids: (n_units, 39), in standard deviations.
        mean: (39,) of the features that were clustered.
        std: (39,)
    """

    rate = UNIT_RATE

    def __init__(self, centroids: Tensor, mean: Tensor, std: Tensor):
        self.centroids, self.mean, self.std = centroids, mean, std
        self.mel = LogMel(MelConfig())

    @classmethod
    def from_checkpoint(cls, loaded: Checkpoint) -> MFCCTokenizer:
        """Restore a tokenizer from what `state` returned."""
        tensors = loaded.tensors
        return cls(tensors["centroids"], tensors["mean"], tensors["std"])

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.centroids)

    @property
    def fingerprint(self) -> str:
        """Hash of centroids, mean and std."""
        tensors = {"centroids": self.centroids, "mean": self.mean, "std": self.std}
        return weights_fingerprint("kmeans-mfcc", tensors)

    def __call__(self, wav: Tensor, roi: Tensor | None = None) -> Tensor:
        """(T_a,) -> (T_a / 320,) int64; T_a must be a multiple of 320."""
        return nearest(self.features(wav), self.centroids)

    @torch.no_grad()
    def features(self, wav: Tensor, roi: Tensor | None = None) -> Tensor:
        """(T_a,) -> (T_a / 320, 39), standardized."""
        if wav.dim() != 1 or not len(wav) or len(wav) % SAMPLES_PER_UNIT:
            raise ValueError(
                f"wav must be (T_a,) with T_a a multiple of {SAMPLES_PER_UNIT}, got {tuple(wav.shape)}."
            )
        return (mfcc_features(self.mel(wav[None, None])[0]) - self.mean) / self.std

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Config and tensors of the checkpoint folder."""
        config = {"kind": "kmeans-mfcc", "mel": to_dict(self.mel.config)}
        return config, {"centroids": self.centroids, "mean": self.mean, "std": self.std}


def mfcc_features(mel: Tensor) -> Tensor:
    """Log-mel (80, 4T) -> MFCC, first and second differences at 50 Hz (2T, 39)."""
    dct = torch.cos(torch.pi / 80 * torch.outer(torch.arange(N_MFCC).float(), torch.arange(80) + 0.5))
    mfcc = dct @ mel.float() / 80
    delta = torch.gradient(mfcc, dim=1)[0]
    stacked = torch.cat([mfcc, delta, torch.gradient(delta, dim=1)[0]])  # (39, 4T)
    return stacked.reshape(len(stacked), -1, 2).mean(2).T
