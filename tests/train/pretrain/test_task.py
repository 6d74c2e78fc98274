"""Pre-training of tiny models (lip2speech/train/pretrain/task.py, config.py)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lip2speech import checkpoint
from lip2speech.config import from_dict
from lip2speech.data.unit_tokenizers import load_unit_tokenizer
from lip2speech.models.frontends.avhubert import avhubert_from_checkpoint
from lip2speech.models.lip2speech import LipModel, ModelConfig
from lip2speech.train.core.pretrained import init_from_checkpoint
from lip2speech.train.core.trainer import Trainer
from lip2speech.train.kmeans import KMeansConfig, fit_kmeans
from lip2speech.train.pretrain.config import PretrainConfig
from lip2speech.train.pretrain.model import MODALITIES, AVHubertPretrainModel
from lip2speech.train.pretrain.task import PretrainTask
from tests.factories import MODEL, prepare
from tests.train.pretrain.conftest import FRONTEND, N_UNITS, config


def test_modalities_are_dropped_with_the_configured_probabilities(
    prepared: Path, units: str, task: PretrainTask
) -> None:
    drawn = [task.sample_modalities(np.random.default_rng(seed)) for seed in range(2000)]
    shares = [
        drawn.count(modalities) / 2000
        for modalities in (MODALITIES["av"], MODALITIES["video"], MODALITIES["audio"])
    ]
    assert shares == pytest.approx([0.5, 0.25, 0.25], abs=0.03)
    task = PretrainTask(config(prepared, units, modality_dropout=0.4, audio_dropout=0.75))
    drawn = [task.sample_modalities(np.random.default_rng(seed)) for seed in range(2000)]
    shares = [
        drawn.count(modalities) / 2000
        for modalities in (MODALITIES["av"], MODALITIES["video"], MODALITIES["audio"])
    ]
    assert shares == pytest.approx([0.6, 0.3, 0.1], abs=0.03)


def test_training_predicts_masked_clusters_better_than_the_majority_baseline(tmp_path: Path) -> None:
    folder = prepare(tmp_path / "clips", splits="train train valid", frames=14)
    fit_kmeans(KMeansConfig(train_data=(str(folder),), n_units=N_UNITS), tmp_path / "units")
    values = config(
        folder, str(tmp_path / "units"), trainer={"steps": 400, "batch_size": 2}, modality_dropout=0.0,
        optimizer={"lr": 6e-3, "warmup_steps": 5}, audio_mask={"mask_prob": 0.6, "mask_length": 4},
        feature_grad_mult=1.0, feature_penalty=0.0,
    )  # fmt: skip
    task = PretrainTask(values)
    rows = [task.training_step(step) for step in range(70)]
    clusters = torch.cat(task.train_set.clusters)
    chance = clusters.bincount().max().item() / len(clusters)
    assert np.mean([row["acc"] for row in rows[-10:]]) > chance + 0.25
    assert np.mean([row["loss"] for row in rows[-10:]]) < 0.5 * rows[0]["loss"]


def test_a_resumed_run_exports_the_same_bits_as_an_uninterrupted_one(
    prepared: Path, units: str, tmp_path: Path
) -> None:
    values = config(prepared, units, max_frames_per_batch=40, frontend=FRONTEND | {"dropout": 0.1})
    Trainer(values.trainer, tmp_path / "whole", quiet=True).fit(PretrainTask(values))
    (tmp_path / "half").mkdir()
    (tmp_path / "whole" / "step-00000002.pt").rename(tmp_path / "half" / "step-00000002.pt")
    Trainer(values.trainer, tmp_path / "half", quiet=True).fit(PretrainTask(values))
    whole, half = (checkpoint.load(tmp_path / name / "final") for name in ("whole", "half"))
    assert all(torch.equal(tensor, half.tensors[name]) for name, tensor in whole.tensors.items())


def test_the_exported_folder_is_accepted_by_finetuning_and_kmeans(
    prepared: Path, units: str, tmp_path: Path
) -> None:
    task = PretrainTask(config(prepared, units))
    task.training_step(0)
    task.export(tmp_path / "final")
    front = task.ema_model().frontend
    model = LipModel(from_dict(ModelConfig, MODEL | {"frontend": FRONTEND}))
    assert not init_from_checkpoint(model, tmp_path / "final")
    assert torch.equal(model.frontend.video_proj.weight, front.video_proj.weight)
    kmeans = {"features": "avhubert", "model": str(tmp_path / "final"), "feature_layer": 1}
    fit_kmeans(
        from_dict(KMeansConfig, {"train_data": [str(prepared)], "n_units": 4} | kmeans), tmp_path / "next"
    )
    assert load_unit_tokenizer(tmp_path / "next").rate == 25
    stored = checkpoint.load(tmp_path / "final")
    held = task.valid_batches[0]
    read, _ = avhubert_from_checkpoint(stored)
    assert torch.equal(read(held.video, held.audio), front(held.video, held.audio))
    restored = AVHubertPretrainModel(task.config.frontend, task.model.clusters.config)
    checkpoint.load_weights(restored, stored.tensors)


def test_validation_reports_each_set_of_modalities_and_is_deterministic(task: PretrainTask) -> None:
    metrics = task.validate()
    assert metrics == task.validate()
    expected = {f"{name}/{key}" for name in ("av", "video", "audio") for key in ("loss", "acc")}
    assert set(metrics) == expected | {"majority_baseline", "loss"}
    assert 1 / N_UNITS <= metrics["majority_baseline"] <= 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"iteration": 2}, r"iteration must be 1 \.\. 1, got 2"),
        ({"iterations": [{"feature_layer": 1}]}, "iteration 1 has no previous model"),
        ({"iterations": [{}, {}]}, "iteration 2 clusters the previous model; give its feature_layer"),
        ({"iterations": [{}, {"feature_layer": 2}]}, r"iteration 2: feature_layer must be 1 \.\. 1, got 2"),
        ({"iterations": [{"model": "x"}]}, "iteration 1 has a model but no feature_layer"),
        ({"modality_dropout": 1.5}, r"modality_dropout must be 0 \.\. 1, got 1\.5"),
        ({"video_mask": {"mask_prob": 0}, "audio_mask": {"mask_prob": 0}}, "nothing is masked"),
        ({"max_frames": 0}, "max_frames must be 1 or more, got 0"),
    ],
)
def test_an_invalid_config_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_dict(PretrainConfig, {"frontend": FRONTEND} | changes)


def test_a_tokenizer_of_another_size_than_configured_is_refused(prepared: Path, units: str) -> None:
    with pytest.raises(ValueError, match=r"has 6 units, the config has n_units 7 for iteration 1"):
        PretrainTask(config(prepared, units, iterations=[{"n_units": 7, "unit_tokenizer": units}]))
