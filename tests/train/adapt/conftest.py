"""A unit tokenizer for the adaptation tests."""

import pytest

from lip2speech import checkpoint
from tests.data.test_unit_tokenizers import make_mfcc_tokenizer


@pytest.fixture(scope="session")
def units(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a unit tokenizer with 8 units."""
    folder, tokenizer = tmp_path_factory.mktemp("tokenizer") / "units", make_mfcc_tokenizer(8)
    tensors = {"centroids": tokenizer.centroids, "mean": tokenizer.mean, "std": tokenizer.std}
    checkpoint.save(folder, {"kind": "kmeans-mfcc"}, tensors, "")
    return str(folder)
