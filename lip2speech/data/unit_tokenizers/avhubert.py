"""Units of an AV-HuBERT layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lip2speech.checkpoint import Checkpoint
from lip2speech.codecs.quantization.kmeans import nearest
from lip2speech.config import to_dict
from lip2speech.constants import VIDEO_FPS
from lip2speech.data.unit_tokenizers.base import (
    check_centroids,
    device_of,
    read_centroids,
    weights_fingerprint,
)
from lip2speech.models.frontends.avhubert import AVHubert, avhubert_from_checkpoint
from lip2speech.models.frontends.filterbanks import stacked_filterbanks
from lip2speech.models.frontends.transforms import Transform


@dataclass(frozen=True)
class AVHubertTokenizerConfig:
    """Description of an AV-HuBERT's centroids.

    Args:
        feature_layer: Layer whose output was clustered, from 1.
        n_units: Number of centroids.
        use_audio: Whether the features are audio-visual, or of video alone.
    """

    feature_layer: int = 12
    n_units: int = 500
    use_audio: bool = True


class AVHubertTokenizer:
    """Nearest centroid of the features of one AV-HuBERT layer, 25 Hz.

    Args:
        model: In eval mode.
        transform: The model's video transform.
        centroids: (n_units, C)
        layer: Layer whose output was clustered, from 1, before the final norm.
        use_audio: Whether audio is an input; a model trained on video alone cannot use it.
    """

    rate = VIDEO_FPS

    def __init__(
        self, model: AVHubert, transform: Transform, centroids: Tensor, layer: int, *, use_audio: bool = True
    ):
        model.check_layer(layer)
        check_centroids(centroids, model.dim)
        self.model, self.transform, self.use_audio = model, transform, use_audio
        self.centroids, self.layer = centroids, layer

    @classmethod
    def from_checkpoint(cls, loaded: Checkpoint) -> AVHubertTokenizer:
        """Restore a tokenizer. ValueError: the folder holds an AV-HuBERT without units."""
        missing = (
            "AV-HuBERT without units; make some with `lip2speech train kmeans "
            "configs/kmeans/avhubert.yaml model=FOLDER`."
        )
        units, centroids = read_centroids(loaded, AVHubertTokenizerConfig, missing)
        return cls(
            *avhubert_from_checkpoint(loaded), centroids, units.feature_layer, use_audio=units.use_audio
        )

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.centroids)

    @property
    def fingerprint(self) -> str:
        """Hash of encoder, inputs, layer and centroids."""
        name = f"avhubert {self.layer} {self.use_audio} {self.transform} {self.model.config}"
        return weights_fingerprint(name, {"centroids": self.centroids, **self.model.state_dict()})

    def __call__(self, wav: Tensor, roi: Tensor | None = None) -> Tensor:
        """(640 T,), (T, 96, 96) -> (T,) int64."""
        return nearest(self.features(wav, roi), self.centroids)

    @torch.no_grad()
    def features(self, wav: Tensor, roi: Tensor | None = None) -> Tensor:
        """(640 T,), (T, 96, 96) -> (T, C)."""
        if roi is None:
            raise ValueError("AV-HuBERT units are audio-visual; give the clip's roi (T, 96, 96), too.")
        device = device_of(self.model)
        audio = stacked_filterbanks(wav)[None].to(device) if self.use_audio else None
        return self.model.extract_features(self.layer, self.transform(roi).to(device), audio)[0].cpu()

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Config and tensors of the checkpoint folder."""
        config = {
            "kind": "avhubert",
            "frontend": to_dict(self.model.config),
            "transform": to_dict(self.transform),
            "units": to_dict(AVHubertTokenizerConfig(self.layer, self.n_units, self.use_audio)),
        }
        tensors = {f"frontend.{name}": tensor for name, tensor in self.model.state_dict().items()}
        return config, tensors | {"centroids": self.centroids}
