"""Unit vocabularies: k-means on features of a corpus, kept with what makes the features as a checkpoint.

As HuBERT's (Hsu et al. 2021, section III-B) and AV-HuBERT's (Shi et al. 2022, section 3.2) iterations have
it: first cepstra, then a layer of the model that learned from the units before. Clips are taken in a random
order until `frames` features are held, so memory does not grow with the corpus; k-means walks through them in
minibatches (Sculley 2010).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from lip2speech import checkpoint
from lip2speech.config import to_dict
from lip2speech.data.dataset import Clip, read_clips
from lip2speech.data.unit_tokenizers import (
    N_MFCC,
    AVHubertTokenizer,
    HubertTokenizer,
    MFCCTokenizer,
    UnitTokenizer,
)
from lip2speech.models.frontends.avhubert import avhubert_from_checkpoint
from lip2speech.models.hubert import hubert_from_checkpoint
from lip2speech.train.core.device import Device, training_device

BATCH = 10_000  # features of one step, as HuBERT's
STARTS = 5  # of which the best is kept


@dataclass(frozen=True)
class KMeansConfig:
    """What is clustered, into how many units.

    features: cepstra of the sound (50 a second), or a layer of a HuBERT (50) or of an AV-HuBERT (25).
    model: folder of an imported HuBERT; or of an imported AV-HuBERT or a lip model.
    feature_layer: whose output is clustered, from 1. sound: whether an AV-HuBERT is given the sound beside
    the lips.
    n_frames: features that are looked at, at most; they take 4 bytes times their width each.
    device: where that model computes; k-means itself is the CPU's.
    """

    train_data: tuple[str, ...] = ()
    n_units: int = 100
    n_frames: int = 300_000
    seed: int = 0
    features: Literal["mfcc", "hubert", "avhubert"] = "mfcc"
    model: str = ""
    feature_layer: int = 0
    use_audio: bool = True
    device: Device = "auto"

    def __post_init__(self) -> None:
        if (self.features == "mfcc") != (not self.model and not self.feature_layer):
            raise ValueError(
                "features hubert and avhubert need a model and its layer, mfcc takes neither; got features "
                f"{self.features}, model {self.model!r} and layer {self.feature_layer}."
            )
        if self.n_units < 1 or self.n_frames < self.n_units:
            raise ValueError(
                f"frames must be n_units or more, n_units 1 or more, got {self.n_frames} and {self.n_units}."
            )


def fit_kmeans(config: KMeansConfig, folder: Path) -> float:
    """Fit on the training split, write the folder, return the mean squared distance.

    Cepstra are clustered, and their distance told, in deviations; a model's features as they are.
    """
    from sklearn.cluster import MiniBatchKMeans

    teacher = blank_teacher(config)
    features = sample(config, teacher, read_clips(config.train_data, "train"))
    if isinstance(teacher, MFCCTokenizer):
        teacher.mean, teacher.std = features.mean(0), features.std(0)
        features = features.sub_(teacher.mean).div_(teacher.std)
    if len(features) < config.n_units:
        raise ValueError(f"{len(features)} features are too few for {config.n_units} units; add clips.")
    fitted = MiniBatchKMeans(config.n_units, batch_size=BATCH, n_init=STARTS, random_state=config.seed).fit(
        features.numpy()
    )
    teacher.centroids = torch.from_numpy(fitted.cluster_centers_).float()
    values, tensors = teacher.state()
    values |= {"rate": teacher.rate, "recipe": to_dict(config)}
    card = f"# Units\nk-means on {config.features} features, {config.n_units} units, {teacher.rate} Hz.\n"
    checkpoint.save(folder, values, tensors, card, overwrite=True)
    return float(fitted.inertia_ / len(features))


def blank_teacher(config: KMeansConfig) -> UnitTokenizer:
    """What makes the features, with centroids that mean nothing yet."""
    if config.features == "mfcc":
        size = 3 * N_MFCC
        return MFCCTokenizer(torch.zeros(config.n_units, size), torch.zeros(size), torch.ones(size))
    device, loaded = training_device(config.device), checkpoint.load(config.model)
    if config.features == "hubert":
        hubert = hubert_from_checkpoint(loaded).to(device)
        return HubertTokenizer(hubert, torch.zeros(config.n_units, hubert.dim), config.feature_layer)
    model, transform = avhubert_from_checkpoint(loaded)
    centroids = torch.zeros(config.n_units, model.dim)
    return AVHubertTokenizer(
        model.to(device), transform, centroids, config.feature_layer, use_audio=config.use_audio
    )


def sample(config: KMeansConfig, teacher: UnitTokenizer, clips: Sequence[Clip]) -> Tensor:
    """Features of clips in a random order until there are `frames` of them, (N, C); no more are held."""
    order = torch.randperm(len(clips), generator=torch.Generator().manual_seed(config.seed))
    rows, count = torch.empty(config.n_frames, teacher.centroids.shape[1]), 0
    for i in order.tolist():
        tensors = clips[i].tensors()
        found = teacher.features(tensors["wav"].float() / 32768.0, tensors["roi"])[: config.n_frames - count]
        rows[count : count + len(found)] = found
        count += len(found)
        if count == config.n_frames:
            break
    return rows[:count]
