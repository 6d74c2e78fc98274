"""A unit tokenizer, a small config and a task for the pre-training tests."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lip2speech.config import from_dict
from lip2speech.train.kmeans import KMeansConfig, fit_kmeans
from lip2speech.train.pretrain.config import PretrainConfig
from lip2speech.train.pretrain.data import MaskedAVDataset, MaskedBatch
from lip2speech.train.pretrain.task import PretrainTask
from tests.factories import MODEL

FRONTEND = MODEL["frontend"] | {
    "stem_stride": 4, "embed_dim": 32, "ffn_dim": 64, "dropout": 0.0, "attention_dropout": 0.0,
    "dropout_input": 0.0,
}  # fmt: skip

N_UNITS = 6


@pytest.fixture(scope="package")
def units(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Units of cepstra, 50 a second."""
    folder = tmp_path_factory.mktemp("units") / "units"
    fit_kmeans(KMeansConfig(train_data=(str(prepared),), n_units=N_UNITS), folder)
    return str(folder)


def config(prepared: Path, units: str, **changes: Any) -> PretrainConfig:
    values: dict[str, Any] = {
        "frontend": FRONTEND,
        "train_data": [str(prepared)],
        "iterations": [{"n_units": N_UNITS, "unit_tokenizer": units}],
        "trainer": {"steps": 4, "batch_size": 2, "save_every": 2, "valid_every": 4},
        "optimizer": {"lr": 3e-3, "warmup_steps": 1},
        "final_dim": 16,
    }
    return from_dict(PretrainConfig, values | changes)


@pytest.fixture(scope="package")
def task(prepared: Path, units: str) -> PretrainTask:
    """A task that no test trains."""
    return PretrainTask(config(prepared, units))


def batch_of(task: PretrainTask, seed: int = 0) -> MaskedBatch:
    torch.manual_seed(seed)
    return task.train_set.collate([0, 3], np.random.default_rng(seed))


def unaugmented(task: PretrainTask, **changes: Any) -> MaskedAVDataset:
    """The training clips without random crops; `changes` replace masks."""
    values: dict[str, Any] = {
        "transform": task.config.transform, "video_mask": task.config.video_mask,
        "audio_mask": task.config.audio_mask, "max_frames": 400, "random": False,
    }  # fmt: skip
    return MaskedAVDataset(task.train_set.clips, task.train_set.clusters, **values | changes)
