"""Unit vocabularies by k-means (lip2speech/train/cluster.py)."""

from pathlib import Path

import torch

from lip2speech import checkpoint
from lip2speech.data.dataset import read_clips
from lip2speech.data.units import load_unit_teacher
from lip2speech.train.cluster import KMeansConfig, fit_kmeans


def test_units_are_fitted_stored_and_used(prepared: Path, tmp_path: Path) -> None:
    config = KMeansConfig(folders=(str(prepared),), n_units=6)
    distance = fit_kmeans(config, tmp_path / "units")
    assert 0 < distance < 39  # what one unit for all would leave: 39 values of deviation 1
    stored = checkpoint.load(tmp_path / "units")
    assert stored.config["recipe"]["n_units"] == 6
    teach = load_unit_teacher(tmp_path / "units")
    units = torch.cat([teach(c.wav()) for c in read_clips([prepared], "train")])
    assert set(units.tolist()) == set(range(6))


def test_one_seed_gives_one_vocabulary(prepared: Path, tmp_path: Path) -> None:
    config = KMeansConfig(folders=(str(prepared),), n_units=4, frames=60)
    stored = []
    for name in ("a", "b"):
        fit_kmeans(config, tmp_path / name)
        stored.append(checkpoint.load(tmp_path / name).tensors)
    assert all(torch.equal(stored[0][key], stored[1][key]) for key in ("centroids", "mean", "std"))
