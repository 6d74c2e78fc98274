"""k-means files of scikit-learn, as joblib writes them: their centroids are read, nothing is executed."""

import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans, MiniBatchKMeans

from lip2speech.importers.foreign_file import ForeignFileError
from lip2speech.importers.kmeans import read_kmeans
from tests.models.hubert_golden import KMEANS, stored

POINTS = np.random.RandomState(0).randn(60, 8).astype("float32")
FITTED = {
    "mini batches": lambda: MiniBatchKMeans(5, n_init=1, random_state=0).fit(POINTS),
    "step by step, with its random state": lambda: MiniBatchKMeans(5, n_init=1).partial_fit(POINTS),
    "all at once, in doubles": lambda: KMeans(5, n_init=1).fit(POINTS.astype("float64")),
    "from given centroids, Fortran order": lambda: KMeans(5, init=np.asfortranarray(POINTS[:5])).fit(POINTS),
}


def test_the_official_file_has_the_stored_centroids() -> None:
    assert read_kmeans(KMEANS, 64).equal(stored()["cluster_centers"])


@pytest.mark.parametrize("kind", FITTED)
def test_fitted_estimators_are_read(tmp_path: Path, kind: str) -> None:
    fitted = FITTED[kind]()
    joblib.dump(fitted, tmp_path / "km.bin")
    expected = torch.from_numpy(fitted.cluster_centers_).float()
    assert read_kmeans(tmp_path / "km.bin", 8).equal(expected)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_is_read(tmp_path: Path, protocol: int) -> None:
    fitted = FITTED["mini batches"]()
    joblib.dump(fitted, tmp_path / "km.bin", protocol=protocol)
    assert read_kmeans(tmp_path / "km.bin").shape == (5, 8)


@pytest.mark.parametrize("order", ["C", "F"])
def test_both_memory_orders_give_the_same_rows(tmp_path: Path, order: Any) -> None:
    fitted = FITTED["mini batches"]()
    fitted.cluster_centers_ = np.array(POINTS[:3], order=order)
    joblib.dump(fitted, tmp_path / "km.bin")
    assert read_kmeans(tmp_path / "km.bin").equal(torch.from_numpy(POINTS[:3].copy()))


@pytest.mark.parametrize("kind", ["half", "float64"])
def test_other_float_types_become_float32(tmp_path: Path, kind: str) -> None:
    fitted = FITTED["mini batches"]()
    fitted.cluster_centers_ = POINTS[:3].astype(kind)
    joblib.dump(fitted, tmp_path / "km.bin")
    centroids = read_kmeans(tmp_path / "km.bin")
    assert centroids.dtype == torch.float32
    torch.testing.assert_close(centroids, torch.from_numpy(POINTS[:3]), rtol=1e-3, atol=1e-3)


CENTROIDS: dict[str, tuple[Any, str]] = {
    "of another width": (POINTS[:5, :7], r"has shape \(5, 7\), expected \(K, 8\)"),
    "flat": (POINTS[0], r"has shape \(8,\), expected \(K, 8\)"),
    "none": (POINTS[:0], r"has shape \(0, 8\)"),
    "too many": (np.zeros(((1 << 16) + 1, 8), "f2"), r"K <= 65536"),
    "integers": (POINTS[:5].astype(int), "has dtype i8, expected floating point"),
    "NaN": (np.full((2, 8), np.nan, "f4"), "has NaN or infinite"),
    "infinity": (np.full((2, 8), np.inf, "f4"), "has NaN or infinite"),
    "big-endian": (POINTS[:5].astype(">f4"), "big-endian"),
    "objects": (np.array([[None] * 8]), "O8, which are not plain numbers"),
    "words": (np.array([["a"] * 8]), "U1, which are not plain numbers"),
    "a list": ([[1.0] * 8], "has no array cluster_centers_"),
}


@pytest.mark.parametrize("kind", CENTROIDS)
def test_centroids_that_cannot_be_used_are_named(tmp_path: Path, kind: str) -> None:
    fitted = FITTED["mini batches"]()
    fitted.cluster_centers_, message = CENTROIDS[kind]
    joblib.dump(fitted, tmp_path / "km.bin")
    with pytest.raises(ForeignFileError, match=message) as error:
        read_kmeans(tmp_path / "km.bin", 8)
    assert str(error.value).startswith(str(tmp_path / "km.bin"))


def test_other_joblib_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "km.bin"
    for value, message in (
        (KMeans(5), "was the k-means fitted"),
        (POINTS, "contains ArrayRef; expected scikit-learn's KMeans"),
        ({"a": 1}, "contains dict; expected"),
    ):
        joblib.dump(value, path)
        with pytest.raises(ForeignFileError, match=message):
            read_kmeans(path)
    joblib.dump(FITTED["mini batches"](), path, compress=3)
    with pytest.raises(ForeignFileError, match="uncompressed"):
        read_kmeans(path)


def test_scikit_learn_is_not_imported() -> None:
    import subprocess

    code = (
        "import sys; from lip2speech.importers.kmeans import read_kmeans; "
        f"read_kmeans({str(KMEANS)!r}); print('sklearn' in sys.modules, 'joblib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
