"""Units of a HuBERT layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lip2speech.checkpoint import Checkpoint
from lip2speech.codecs.quantization.kmeans import nearest
from lip2speech.config import to_dict
from lip2speech.constants import UNIT_RATE
from lip2speech.data.unit_tokenizers.base import (
    SAMPLES_PER_UNIT,
    check_centroids,
    device_of,
    read_centroids,
    weights_fingerprint,
)
from lip2speech.models.hubert import Hubert, hubert_from_checkpoint

MAX_SAMPLES = 1_600_000
"""Chunk length (100 s) of one forward pass, as in the tools that made the published units."""


@dataclass(frozen=True)
class HubertTokenizerConfig:
    """Description of a HuBERT's centroids; the defaults are those of the published English units.

    Args:
        feature_layer: Layer whose output was clustered, from 1.
        n_units: Number of centroids.
    """

    feature_layer: int = 6
    n_units: int = 200


class HubertTokenizer:
    """Nearest centroid of the features of one HuBERT layer, 50 Hz.

    A feature has a receptive field of 400 samples, so the last 320 often give none: the published tools
    return one unit less there, this class repeats the last feature. Long audio is encoded in chunks, as by
    those tools.

    Args:
        model: In eval mode, with a hop of 320 samples.
        centroids: (n_units, C)
        layer: Layer whose output was clustered, from 1.
    """

    rate = UNIT_RATE

    def __init__(self, model: Hubert, centroids: Tensor, layer: int):
        model.check_layer(layer)
        if model.config.hop_length != SAMPLES_PER_UNIT:
            raise ValueError(f"HuBERT has a hop of {model.config.hop_length}, expected {SAMPLES_PER_UNIT}.")
        check_centroids(centroids, model.dim)
        self.model, self.centroids, self.layer = model, centroids, layer

    @classmethod
    def from_checkpoint(cls, loaded: Checkpoint) -> HubertTokenizer:
        """Restore a tokenizer from an imported HuBERT. ValueError: it was imported without its k-means."""
        missing = "HuBERT without units; import it together with a km.bin."
        units, centroids = read_centroids(loaded, HubertTokenizerConfig, missing)
        return cls(hubert_from_checkpoint(loaded), centroids, units.feature_layer)

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.centroids)

    @property
    def fingerprint(self) -> str:
        """Hash of encoder, layer and centroids."""
        name = f"hubert {self.layer} {self.model.config}"
        return weights_fingerprint(name, {"centroids": self.centroids, **self.model.state_dict()})

    def __call__(self, wav: Tensor, roi: Tensor | None = None) -> Tensor:
        """(T_a,) -> (T_a // 320,) int64."""
        return nearest(self.features(wav), self.centroids)

    @torch.no_grad()
    def features(self, wav: Tensor, roi: Tensor | None = None) -> Tensor:
        """(T_a,) -> (T_a // 320, C)."""
        if wav.dim() != 1:
            raise ValueError(f"wav must be (T_a,), got {tuple(wav.shape)}.")
        # A remainder too short for a feature is left in the chunk before it.
        ends = range(MAX_SAMPLES, len(wav) - self.model.feature_extractor.receptive_field + 1, MAX_SAMPLES)
        return torch.cat([self.features_chunk(chunk) for chunk in wav.tensor_split(list(ends))])

    def features_chunk(self, wav: Tensor) -> Tensor:
        """Features of one forward pass, (T_a,) -> (T_a // 320, C)."""
        features = self.model.extract_features(wav[None, None].to(device_of(self.model)), self.layer)[0].cpu()
        return torch.cat([features, features[-1:].expand(len(wav) // SAMPLES_PER_UNIT - len(features), -1)])

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Config and tensors of the checkpoint folder."""
        units = HubertTokenizerConfig(self.layer, self.n_units)
        config = {"kind": "hubert", "hubert": to_dict(self.model.config), "units": to_dict(units)}
        tensors = {f"hubert.{name}": tensor for name, tensor in self.model.state_dict().items()}
        return config, tensors | {"centroids": self.centroids}
