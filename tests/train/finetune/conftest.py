"""Teachers and a small config for the fine-tuning tests."""

from pathlib import Path
from typing import Any

import pytest

from lip2speech import checkpoint
from lip2speech.config import from_dict
from lip2speech.train.finetune.config import FinetuneConfig
from lip2speech.train.finetune.task import FinetuneTask
from tests.data.test_unit_tokenizers import make_mfcc_tokenizer
from tests.factories import MODEL, save_codec


@pytest.fixture(scope="package")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of a unit tokenizer with 8 units and of a codec."""
    folder, tokenizer = tmp_path_factory.mktemp("teachers"), make_mfcc_tokenizer(8)
    tensors = {"centroids": tokenizer.centroids, "mean": tokenizer.mean, "std": tokenizer.std}
    checkpoint.save(folder / "units", {"kind": "kmeans-mfcc"}, tensors, "")
    return {"unit_tokenizer": str(folder / "units"), "codec_path": str(save_codec(folder / "codec"))}


def config(prepared: Path, teachers: dict[str, str], **changes: Any) -> FinetuneConfig:
    """Four steps of a tiny model."""
    values = {
        "model": MODEL,
        "train_data": [str(prepared)],
        "trainer": {"steps": 4, "batch_size": 2, "save_every": 2, "valid_every": 4},
        "optimizer": {"lr": 3e-3, "warmup_steps": 1},
    }
    return from_dict(FinetuneConfig, values | teachers | changes)


@pytest.fixture(scope="package")
def task(prepared: Path, teachers: dict[str, str]) -> FinetuneTask:
    """A task that no test trains."""
    return FinetuneTask(config(prepared, teachers))
