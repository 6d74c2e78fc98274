"""Unit tokenizers: audio -> ids of the nearest k-means centroids of MFCC, HuBERT or AV-HuBERT features.

Hsu et al. 2021 ("HuBERT"), section III-B, cluster MFCC first and the features of a HuBERT layer later;
Shi et al. 2022 ("AV-HuBERT"), section 3.2, go on with AV-HuBERT features, one per video frame.
"""

from __future__ import annotations

from pathlib import Path

import torch

from lip2speech import checkpoint
from lip2speech.data.unit_tokenizers.avhubert import AVHubertTokenizer, AVHubertTokenizerConfig
from lip2speech.data.unit_tokenizers.base import (
    SAMPLES_PER_UNIT,
    UnitTokenizer,
    require_rate,
)
from lip2speech.data.unit_tokenizers.hubert import HubertTokenizer, HubertTokenizerConfig
from lip2speech.data.unit_tokenizers.mfcc import N_MFCC, MFCCTokenizer, mfcc_features

__all__ = [
    "N_MFCC",
    "SAMPLES_PER_UNIT",
    "UNIT_TOKENIZERS",
    "AVHubertTokenizer",
    "AVHubertTokenizerConfig",
    "HubertTokenizer",
    "HubertTokenizerConfig",
    "MFCCTokenizer",
    "UnitTokenizer",
    "load_unit_tokenizer",
    "mfcc_features",
    "require_rate",
]

UNIT_TOKENIZERS: dict[str, type[MFCCTokenizer] | type[HubertTokenizer] | type[AVHubertTokenizer]] = {
    "kmeans-mfcc": MFCCTokenizer,
    "hubert": HubertTokenizer,
    "avhubert": AVHubertTokenizer,
}
"""`kind` in a folder's config -> tokenizer."""


def load_unit_tokenizer(folder: str | Path, device: torch.device | None = None) -> UnitTokenizer:
    """Load a tokenizer from a folder written by `lip2speech train kmeans` or by importing a HuBERT.

    Args:
        folder: The checkpoint folder.
        device: Where the network, if any, computes; inputs and outputs stay on the CPU.

    Raises:
        CheckpointError: The folder is damaged, incomplete, or holds something else.
        ValueError: Its `rate` is not that of its features.
    """
    loaded = checkpoint.load(folder, *UNIT_TOKENIZERS)
    tokenizer = UNIT_TOKENIZERS[loaded.config["kind"]].from_checkpoint(loaded)
    if not isinstance(tokenizer, MFCCTokenizer):
        tokenizer.model.to(device)
    if (rate := loaded.config.get("rate", tokenizer.rate)) != tokenizer.rate:
        raise ValueError(f"{folder}: rate is {rate} Hz, but its features are at {tokenizer.rate} Hz.")
    return tokenizer
