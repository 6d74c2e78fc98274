"""The interface of unit tokenizers, and what they share."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from lip2speech.checkpoint import Checkpoint
from lip2speech.config import from_dict
from lip2speech.constants import SAMPLE_RATE, UNIT_RATE, VIDEO_FPS

SAMPLES_PER_UNIT = SAMPLE_RATE // UNIT_RATE


class _UnitsConfig(Protocol):
    @property
    def n_units(self) -> int: ...


Config = TypeVar("Config", bound=_UnitsConfig)


class UnitTokenizer(Protocol):
    """Maps audio (and mouth crops, where the features are audio-visual) to unit ids.

    Shape:
        __call__: wav (T_a,) float32 in [-1, 1] at 16 kHz, roi (T, 96, 96) uint8 or None
                  -> units (T_u,) int64 in 0..n_units - 1, T_u = T_a * rate // 16000
        features: the same -> (T_u, C), the features that are quantized to `centroids` (n_units, C)

    Attributes:
        rate: Units per second.
    """

    centroids: Tensor
    rate: int

    @property
    def n_units(self) -> int:
        """Number of units."""
        ...

    @property
    def fingerprint(self) -> str:
        """Equal for two tokenizers that give the same units."""
        ...

    def __call__(self, wav: Tensor, roi: Tensor | None = None) -> Tensor:
        """(T_a,), (T, 96, 96) -> (T_u,) int64."""
        ...

    def features(self, wav: Tensor, roi: Tensor | None = None) -> Tensor:
        """(T_a,), (T, 96, 96) -> (T_u, C)."""
        ...

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Config and tensors of the checkpoint folder from which `load_unit_tokenizer` restores it."""
        ...


def require_rate(tokenizer: UnitTokenizer | None, rate: int) -> None:
    """Raise ValueError unless the units (if any) are at `rate` Hz."""
    if tokenizer is not None and tokenizer.rate != rate:
        raise ValueError(
            f"units are at {tokenizer.rate} Hz, expected {rate} Hz; use mfcc or hubert units "
            f"({UNIT_RATE} Hz), or avhubert units ({VIDEO_FPS} Hz)."
        )


def check_centroids(centroids: Tensor, dim: int) -> None:
    """Raise ValueError unless centroids are (n_units, dim)."""
    if centroids.dim() != 2 or centroids.shape[1] != dim:
        raise ValueError(f"centroids must be (K, {dim}), got {tuple(centroids.shape)}.")


def read_centroids(loaded: Checkpoint, config_type: type[Config], missing: str) -> tuple[Config, Tensor]:
    """The `units` config and the centroids of an encoder's checkpoint folder.

    Args:
        loaded: The folder.
        config_type: A config class with a field `n_units`.
        missing: The rest of the error message where the folder has no units.

    Raises:
        ValueError: The folder has no units, or not as many as its config has.
    """
    if "units" not in loaded.config or "centroids" not in loaded.tensors:
        raise ValueError(f"{loaded.folder} holds {missing}")
    config = from_dict(config_type, loaded.config["units"], f"{loaded.folder}: units")
    centroids = loaded.tensors["centroids"]
    if len(centroids) != config.n_units:
        raise ValueError(
            f"{loaded.folder}: n_units is {config.n_units}, but it holds {len(centroids)} centroids."
        )
    return config, centroids


def weights_fingerprint(name: str, tensors: Mapping[str, Tensor]) -> str:
    """Hash of a description and of weights, 16 hex digits."""
    digest = hashlib.sha256(name.encode())
    for key, tensor in sorted(tensors.items()):
        digest.update(key.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def device_of(network: nn.Module) -> torch.device:
    """Device of a network's weights."""
    return next(network.parameters()).device
