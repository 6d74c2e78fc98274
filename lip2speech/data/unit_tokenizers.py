"""Unit teachers: sound to the numbers of its nearest centroids, 50 a second. A folder says which kind it is.

Hsu et al. 2021, section III-B: first cepstra are clustered, then the features of a HuBERT layer; Shi et al.
2022, section 3.2: then those of an AV-HuBERT, which sees the lips as well and has the video's clock, 25 a
second. What is made of a clip's features is what k-means saw of them. Knows not how centroids were found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lip2speech import checkpoint
from lip2speech.audio.mel import LogMel, MelConfig
from lip2speech.codecs.quantization.kmeans import nearest
from lip2speech.config import from_dict, to_dict
from lip2speech.constants import SAMPLE_RATE, UNIT_RATE, VIDEO_FPS
from lip2speech.models.frontends.avhubert import AVHubert, avhubert_from_checkpoint
from lip2speech.models.frontends.filterbanks import stacked_filterbanks
from lip2speech.models.frontends.transforms import Transform
from lip2speech.models.hubert import Hubert, hubert_from_checkpoint

SAMPLES_PER_UNIT = SAMPLE_RATE // UNIT_RATE
N_MFCC = 13
MAX_SAMPLES = 1_600_000  # that HuBERT sees at once: what the published units were made with, 100 s


class UnitTokenizer(Protocol):
    """What gives a sound its units.

    Shape:
        wav (T_a,) float32 in [-1, 1] at 16 kHz, roi (T, 96, 96) uint8 for those that look
        -> units (T_u,) int64 in 0..n_units - 1, T_u = T_a * rate // 16000
        features: the same -> (T_u, C), what centroids are near to
    """

    centroids: Tensor
    rate: int

    @property
    def n_units(self) -> int:
        """How many units there are."""
        ...

    @property
    def fingerprint(self) -> str:
        """The same for two that give the same units."""
        ...

    def __call__(self, wav: Tensor, roi: Tensor | None = None) -> Tensor:
        """(T_a,), (T, 96, 96) -> (T_u,) int64."""
        ...

    def features(self, wav: Tensor, roi: Tensor | None = None) -> Tensor:
        """(T_a,), (T, 96, 96) -> (T_u, C)."""
        ...

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The config and the tensors of the folder that it is read back from."""
        ...


class MFCCTokenizer:
    """Units by nearest centroid on MFCC with first and second differences (as HuBERT's first iteration).

    Centroids and recipe lie in a folder written by `lip2speech train kmeans`.
    """

    rate = UNIT_RATE

    def __init__(self, centroids: Tensor, mean: Tensor, std: Tensor):
        self.centroids, self.mean, self.std = centroids, mean, std
        self.mel = LogMel(MelConfig())

    @classmethod
    def from_checkpoint(cls, loaded: checkpoint.Checkpoint) -> MFCCTokenizer:
        """The teacher of a folder."""
        t = loaded.tensors
        return cls(t["centroids"], t["mean"], t["std"])

    @property
    def n_units(self) -> int:
        """How many units there are."""
        return len(self.centroids)

    @property
    def fingerprint(self) -> str:
        """Of the centroids and their scale."""
        return weights_fingerprint(
            "kmeans-mfcc", {"centroids": self.centroids, "mean": self.mean, "std": self.std}
        )

    def __call__(self, wav: Tensor, roi: Tensor | None = None) -> Tensor:
        """(T_a,) -> (T_a / 320,) int64; the sound must be a whole number of units long."""
        return nearest(self.features(wav), self.centroids)

    @torch.no_grad()
    def features(self, wav: Tensor, roi: Tensor | None = None) -> Tensor:
        """(T_a,) -> (T_a / 320, 39), in deviations."""
        if wav.dim() != 1 or not len(wav) or len(wav) % SAMPLES_PER_UNIT:
            raise ValueError(
                f"wav must be (T_a,) with T_a a multiple of {SAMPLES_PER_UNIT}, got {tuple(wav.shape)}."
            )
        return (mfcc_features(self.mel(wav[None, None])[0]) - self.mean) / self.std

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Config and tensors."""
        values = {"kind": "kmeans-mfcc", "mel": to_dict(self.mel.config)}
        return values, {"centroids": self.centroids, "mean": self.mean, "std": self.std}


@dataclass(frozen=True)
class HubertTokenizerConfig:
    """What an imported HuBERT's centroids are; the defaults are those of the published English units.

    feature_layer: whose features were clustered, from 1; n_units: how many centroids.
    """

    feature_layer: int = 6
    n_units: int = 200


class HubertTokenizer:
    """Units by nearest centroid on the features of one HuBERT layer.

    A feature sees 400 samples, so the last 320 often make none: there the published tools give one unit less
    than the clock has, here the last one is held. A long sound is seen in pieces, as by those tools.

    Args:
        model: in eval mode, with one feature vector for every 320 samples.
        centroids: (K, C).
        layer: whose features were clustered, from 1.
    """

    rate = UNIT_RATE

    def __init__(self, model: Hubert, centroids: Tensor, layer: int):
        model.check_layer(layer)
        if model.config.hop_length != SAMPLES_PER_UNIT:
            raise ValueError(f"HuBERT has a hop of {model.config.hop_length}, units need {SAMPLES_PER_UNIT}.")
        if centroids.dim() != 2 or centroids.shape[1] != model.dim:
            raise ValueError(f"centroids must be (K, {model.dim}), got {tuple(centroids.shape)}.")
        self.model, self.centroids, self.layer = model, centroids, layer

    @classmethod
    def from_checkpoint(cls, loaded: checkpoint.Checkpoint) -> HubertTokenizer:
        """The teacher of a folder; ValueError when it was imported without its k-means."""
        if "units" not in loaded.config or "centroids" not in loaded.tensors:
            raise ValueError(f"{loaded.folder} holds HuBERT without units; import it together with a km.bin.")
        units = from_dict(HubertTokenizerConfig, loaded.config["units"], f"{loaded.folder}: units")
        centroids = loaded.tensors["centroids"]
        if len(centroids) != units.n_units:
            raise ValueError(f"{loaded.folder} says {units.n_units} units and holds {len(centroids)}.")
        return cls(hubert_from_checkpoint(loaded), centroids, units.feature_layer)

    @property
    def n_units(self) -> int:
        """How many units there are."""
        return len(self.centroids)

    @property
    def fingerprint(self) -> str:
        """Of the encoder, the layer and the centroids."""
        what = f"hubert {self.layer} {self.model.config}"
        return weights_fingerprint(what, {"centroids": self.centroids, **self.model.state_dict()})

    def __call__(self, wav: Tensor, roi: Tensor | None = None) -> Tensor:
        """(T_a,) -> (T_a // 320,) int64."""
        return nearest(self.features(wav), self.centroids)

    @torch.no_grad()
    def features(self, wav: Tensor, roi: Tensor | None = None) -> Tensor:
        """(T_a,) -> (T_a // 320, C)."""
        if wav.dim() != 1:
            raise ValueError(f"wav must be (T_a,), got {tuple(wav.shape)}.")
        # A rest too short for a feature of its own stays with the piece before it.
        ends = range(MAX_SAMPLES, len(wav) - self.model.feature_extractor.receptive_field + 1, MAX_SAMPLES)
        return torch.cat([self.features_chunk(part) for part in wav.tensor_split(list(ends))])

    def features_chunk(self, wav: Tensor) -> Tensor:
        """Features of a sound that is seen at once, (T_a,) -> (T_a // 320, C)."""
        features = self.model.extract_features(wav[None, None].to(device_of(self.model)), self.layer)[0].cpu()
        return torch.cat([features, features[-1:].expand(len(wav) // SAMPLES_PER_UNIT - len(features), -1)])

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Config and tensors."""
        units = HubertTokenizerConfig(self.layer, self.n_units)
        values = {"kind": "hubert", "hubert": to_dict(self.model.config), "units": to_dict(units)}
        weights = {f"hubert.{name}": tensor for name, tensor in self.model.state_dict().items()}
        return values, weights | {"centroids": self.centroids}


@dataclass(frozen=True)
class AVHubertTokenizerConfig:
    """What the centroids beside an AV-HuBERT are.

    feature_layer: whose features were clustered, from 1; sound: whether it was given the sound, or the lips alone.
    """

    feature_layer: int = 12
    n_units: int = 500
    use_audio: bool = True


class AVHubertTokenizer:
    """Units by nearest centroid on the features of one AV-HuBERT layer, one for each video frame.

    Args:
        model: in eval mode; transform: what its crops go through.
        centroids: (K, C).
        layer: whose features were clustered, from 1, before the final norm.
        sound: whether it is given the sound; a lip model that never heard any knows nothing of it.
    """

    rate = VIDEO_FPS

    def __init__(
        self, model: AVHubert, transform: Transform, centroids: Tensor, layer: int, *, use_audio: bool = True
    ):
        model.check_layer(layer)
        if centroids.dim() != 2 or centroids.shape[1] != model.dim:
            raise ValueError(f"centroids must be (K, {model.dim}), got {tuple(centroids.shape)}.")
        self.model, self.transform, self.use_audio = model, transform, use_audio
        self.centroids, self.layer = centroids, layer

    @classmethod
    def from_checkpoint(cls, loaded: checkpoint.Checkpoint) -> AVHubertTokenizer:
        """The teacher of a folder; ValueError when it is an AV-HuBERT without units."""
        if "units" not in loaded.config or "centroids" not in loaded.tensors:
            raise ValueError(
                f"{loaded.folder} holds AV-HuBERT without units; make some with `lip2speech train kmeans "
                "configs/kmeans/avhubert.yaml model=FOLDER`."
            )
        units = from_dict(AVHubertTokenizerConfig, loaded.config["units"], f"{loaded.folder}: units")
        centroids = loaded.tensors["centroids"]
        if len(centroids) != units.n_units:
            raise ValueError(f"{loaded.folder} says {units.n_units} units and holds {len(centroids)}.")
        return cls(*avhubert_from_checkpoint(loaded), centroids, units.feature_layer, use_audio=units.use_audio)

    @property
    def n_units(self) -> int:
        """How many units there are."""
        return len(self.centroids)

    @property
    def fingerprint(self) -> str:
        """Of the encoder, what it is given, the layer and the centroids."""
        what = f"avhubert {self.layer} {self.use_audio} {self.transform} {self.model.config}"
        return weights_fingerprint(what, {"centroids": self.centroids, **self.model.state_dict()})

    def __call__(self, wav: Tensor, roi: Tensor | None = None) -> Tensor:
        """(640 T,), (T, 96, 96) -> (T,) int64."""
        return nearest(self.features(wav, roi), self.centroids)

    @torch.no_grad()
    def features(self, wav: Tensor, roi: Tensor | None = None) -> Tensor:
        """(640 T,), (T, 96, 96) -> (T, C)."""
        if roi is None:
            raise ValueError("AV-HuBERT's units are of lips and sound; give the clip's roi (T, 96, 96), too.")
        device = device_of(self.model)
        heard = stacked_filterbanks(wav)[None].to(device) if self.use_audio else None
        return self.model.extract_features(self.layer, self.transform(roi).to(device), heard)[0].cpu()

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Config and tensors."""
        values = {
            "kind": "avhubert",
            "frontend": to_dict(self.model.config),
            "transform": to_dict(self.transform),
            "units": to_dict(AVHubertTokenizerConfig(self.layer, self.n_units, self.use_audio)),
        }
        weights = {f"frontend.{name}": tensor for name, tensor in self.model.state_dict().items()}
        return values, weights | {"centroids": self.centroids}


UNIT_TOKENIZERS: dict[str, type[MFCCTokenizer] | type[HubertTokenizer] | type[AVHubertTokenizer]] = {
    "kmeans-mfcc": MFCCTokenizer,
    "hubert": HubertTokenizer,
    "avhubert": AVHubertTokenizer,
}
"""The kind that a folder's config names -> its teacher."""


def load_unit_tokenizer(folder: str | Path, device: torch.device | None = None) -> UnitTokenizer:
    """The teacher of a folder written by `lip2speech train kmeans` or by the import of a HuBERT.

    Its network, where it has one, computes on `device`; it takes and gives tensors of the CPU.

    Raises:
        CheckpointError: damaged or incomplete folder.
        ValueError: the folder holds something else, or says another rate than its units have.
    """
    loaded = checkpoint.load(folder)
    kind = loaded.config.get("kind")
    if kind not in UNIT_TOKENIZERS:
        known = " or ".join(UNIT_TOKENIZERS)
        raise ValueError(f"{folder} holds {kind!r}, expected {known} units.")
    teacher = UNIT_TOKENIZERS[kind].from_checkpoint(loaded)
    if not isinstance(teacher, MFCCTokenizer):
        teacher.model.to(device)
    if (rate := loaded.config.get("rate", teacher.rate)) != teacher.rate:
        raise ValueError(f"{folder} says {rate} units a second, its features come {teacher.rate} a second.")
    return teacher


def device_of(network: nn.Module) -> torch.device:
    """Where its weights are."""
    return next(network.parameters()).device


def require_rate(teacher: UnitTokenizer | None, rate: int) -> None:
    """ValueError unless the units have the clock of those who take them."""
    if teacher is not None and teacher.rate != rate:
        raise ValueError(
            f"units come {teacher.rate} a second, {rate} are needed; take units of mfcc or hubert "
            f"({UNIT_RATE} a second), or of avhubert ({VIDEO_FPS})."
        )


def weights_fingerprint(what: str, tensors: Mapping[str, Tensor]) -> str:
    """A fingerprint of a name and of weights."""
    told = hashlib.sha256(what.encode())
    for name, tensor in sorted(tensors.items()):
        told.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return told.hexdigest()[:16]


def mfcc_features(mel: Tensor) -> Tensor:
    """Log-mel (80, 4T) -> MFCC, differences and second differences at 50 Hz (2T, 39)."""
    cosine = torch.cos(torch.pi / 80 * torch.outer(torch.arange(N_MFCC).float(), torch.arange(80) + 0.5))
    cepstra = cosine @ mel.float() / 80
    slope = torch.gradient(cepstra, dim=1)[0]
    stacked = torch.cat([cepstra, slope, torch.gradient(slope, dim=1)[0]])  # (39, 4T)
    return stacked.unflatten(1, (-1, 2)).mean(2).T
