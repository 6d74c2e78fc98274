"""Unit vocabularies: k-means on features of a corpus' sound, kept with its recipe as a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from lip2speech import checkpoint
from lip2speech.config import to_dict
from lip2speech.data.dataset import read_clips
from lip2speech.data.units import unit_features
from lip2speech.mel import LogMel, MelConfig


@dataclass(frozen=True)
class KMeansConfig:
    """Which sound is clustered, into how many units."""

    folders: tuple[str, ...] = ()
    n_units: int = 100
    frames: int = 300_000
    seed: int = 0


def fit_kmeans(config: KMeansConfig, folder: Path) -> float:
    """Fit on the training split, write the folder, return the mean squared distance (in deviations)."""
    from sklearn.cluster import MiniBatchKMeans

    mel = LogMel(MelConfig())
    rows, count = [], 0
    clips = read_clips(config.folders, "train")
    order = torch.randperm(len(clips), generator=torch.Generator().manual_seed(config.seed))
    for i in order.tolist():
        rows.append(unit_features(mel(clips[i].wav()[None, None])[0]))
        count += len(rows[-1])
        if count >= config.frames:
            break
    features = torch.cat(rows)
    mean, std = features.mean(0), features.std(0)
    scaled = ((features - mean) / std).numpy()
    fitted = MiniBatchKMeans(config.n_units, batch_size=10_000, n_init=5, random_state=config.seed).fit(
        scaled
    )
    tensors = {"centroids": torch.from_numpy(fitted.cluster_centers_).float(), "mean": mean, "std": std}
    recipe = {"kind": "kmeans-mfcc", "recipe": to_dict(config), "mel": to_dict(MelConfig())}
    checkpoint.save(
        folder, recipe, tensors, "# Units\nk-means on MFCC and differences, 50 Hz.\n", overwrite=True
    )
    return float(fitted.inertia_ / len(scaled))
