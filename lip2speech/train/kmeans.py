"""Unit tokenizers by k-means, stored with their feature extractor as a checkpoint folder.

As in the iterations of HuBERT (Hsu et al. 2021, section III-B) and AV-HuBERT (Shi et al. 2022, section 3.2),
the features are MFCC first, then a layer of the model trained on the previous units. Clips are read in random
order until `n_frames` features are collected, so memory does not grow with the corpus; k-means runs on
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

BATCH_SIZE = 10_000  # features of one step, as in HuBERT
N_INIT = 5  # random initializations, of which the best is kept


@dataclass(frozen=True)
class KMeansConfig:
    """Features and number of clusters.

    Attributes:
        features: MFCC (50 Hz), or a layer of a HuBERT (50 Hz) or an AV-HuBERT (25 Hz).
        model: checkpoint folder of an imported HuBERT, an imported AV-HuBERT or a lip model.
        feature_layer: layer whose output is clustered, counted from 1.
        use_audio: whether an AV-HuBERT gets audio in addition to video.
        n_frames: limit on the number of features, which take 4 bytes per value.
        device: of the feature extractor; k-means itself runs on the CPU.
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
                "features hubert and avhubert need model and feature_layer, mfcc takes neither; got features "
                f"{self.features}, model {self.model!r} and feature_layer {self.feature_layer}."
            )
        if self.n_units < 1 or self.n_frames < self.n_units:
            raise ValueError(
                f"n_units must be 1 or more and n_frames n_units or more, got {self.n_units} and "
                f"{self.n_frames}."
            )


def fit_kmeans(config: KMeansConfig, folder: Path) -> float:
    """Fit k-means on the training split and write the folder.

    MFCC are clustered in standard deviations, features of a model as they are.

    Returns:
        the mean squared distance to the nearest centroid.
    """
    from sklearn.cluster import MiniBatchKMeans

    tokenizer = feature_extractor(config)
    features = sample_features(config, tokenizer, read_clips(config.train_data, "train"))
    if isinstance(tokenizer, MFCCTokenizer):
        tokenizer.mean, tokenizer.std = features.mean(0), features.std(0)
        features = features.sub_(tokenizer.mean).div_(tokenizer.std)
    if len(features) < config.n_units:
        raise ValueError(f"{len(features)} features are too few for {config.n_units} units; add clips.")
    kmeans = MiniBatchKMeans(
        config.n_units, batch_size=BATCH_SIZE, n_init=N_INIT, random_state=config.seed
    ).fit(features.numpy())
    tokenizer.centroids = torch.from_numpy(kmeans.cluster_centers_).float()
    values, tensors = tokenizer.state()
    values |= {"rate": tokenizer.rate, "kmeans": to_dict(config)}
    size = f"{config.n_units} units at {tokenizer.rate} Hz"
    card = f"# Unit tokenizer\nk-means on {config.features} features: {size}.\n"
    checkpoint.save(folder, values, tensors, card, overwrite=True)
    return float(kmeans.inertia_ / len(features))


def feature_extractor(config: KMeansConfig) -> UnitTokenizer:
    """A tokenizer with the config's features and centroids of zeros."""
    if config.features == "mfcc":
        size = 3 * N_MFCC  # with first and second differences
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


def sample_features(config: KMeansConfig, tokenizer: UnitTokenizer, clips: Sequence[Clip]) -> Tensor:
    """Features (N, C) of clips in random order, at most `n_frames`; no more are held in memory."""
    order = torch.randperm(len(clips), generator=torch.Generator().manual_seed(config.seed))
    rows, count = torch.empty(config.n_frames, tokenizer.centroids.shape[1]), 0
    for i in order.tolist():
        tensors = clips[i].tensors()
        wav = tensors["wav"].float() / 32768.0
        found = tokenizer.features(wav, tensors["roi"])[: config.n_frames - count]
        rows[count : count + len(found)] = found
        count += len(found)
        if count == config.n_frames:
            break
    return rows[:count]
