"""Codec training (lip2speech/train/codec/task.py) with very small numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lip2speech import checkpoint
from lip2speech.codecs import code_fingerprint, load_codec
from lip2speech.config import ConfigError, from_dict
from lip2speech.train.codec import CodecTask, CodecTrainConfig
from lip2speech.train.core.trainer import Trainer
from lip2speech.train.kmeans import KMeansConfig, fit_kmeans
from tests.factories import CODEC, SACODEC


def config(folder: Path, **changes: Any) -> CodecTrainConfig:
    numbers = {
        "codec": CODEC,
        "trainer": {"steps": 8, "batch_size": 4, "save_every": 4, "valid_every": 8},
        "optimizer": {"lr": 3e-3, "warmup_steps": 1},
        "data": {"prepared_dirs": [str(folder)], "seconds": 0.2, "gain_jitter_db": 3.0},
        "msstftd": {"filters": 2, "n_ffts": [256, 128]},
        "quantizer_start_step": 2,
        "disc_start_step": 5,
        "freeze_encoder_step": 5,
        "ema_decay": 0.9,
    }
    return from_dict(CodecTrainConfig, numbers | changes)


def codes(task: CodecTask, wav: Tensor) -> Tensor:
    with torch.no_grad():
        return task.ema_model().encode(wav)


@pytest.fixture(scope="module")
def wav() -> Tensor:
    return 0.1 * torch.randn(2, 1, 6400, generator=torch.Generator().manual_seed(0))


def test_the_spectral_loss_falls(prepared: Path) -> None:
    task = CodecTask(config(prepared, quantizer_start_step=100, disc_start_step=100, freeze_encoder_step=101))
    losses = [task.training_step(step)["loss/spectral"] for step in range(14)]
    assert np.mean(losses[-3:]) < 0.85 * np.mean(losses[:3])


def test_codes_are_unchanged_once_the_encoder_is_frozen(prepared: Path, wav: Tensor) -> None:
    task = CodecTask(config(prepared))
    for step in range(5):
        task.training_step(step)
    before, decoder = codes(task, wav), decoder_of(task)
    fingerprint = code_fingerprint(task.ema_model())
    for step in range(5, 9):
        task.training_step(step)
        assert torch.equal(codes(task, wav), before)
        assert code_fingerprint(task.ema_model()) == code_fingerprint(task.codec) == fingerprint
    assert not all(torch.equal(a, b) for a, b in zip(decoder, decoder_of(task), strict=True))


def decoder_of(task: CodecTask) -> list[Tensor]:
    return [p.detach().clone() for p in task.ema_model().decoder.parameters()]


def test_every_part_learns_before_the_encoder_is_frozen(prepared: Path, wav: Tensor) -> None:
    task = CodecTask(config(prepared))
    for step in range(3):
        task.training_step(step)
    before = {name: p.detach().clone() for name, p in task.codec.state_dict().items()}
    task.training_step(3)
    after = task.codec.state_dict()
    for part in ("encoder.", "quantizer.codebooks.0.entries", "quantizer.codebooks.1.entries", "decoder."):
        assert any(not torch.equal(after[n], before[n]) for n in after if n.startswith(part)), part


def test_codec_and_discriminators_learn(prepared: Path) -> None:
    task = CodecTask(config(prepared))
    for step in range(5):
        assert "loss/disc" not in task.training_step(step)
    before = {name: p.detach().clone() for name, p in task.gan.discriminator.named_parameters()}
    logs = task.training_step(5)
    assert {
        "loss/disc",
        "loss/adv",
        "loss/feat_match",
        "loss/spectral",
        "loss/commit",
        "grad_norm",
        "skipped_steps",
    } <= set(logs)
    assert logs["skipped_steps"] == 0
    after = dict(task.gan.discriminator.named_parameters())
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert all(any(name.startswith(f"discriminators.{i}.") for name in moved) for i in range(2))
    assert all(p.requires_grad for p in task.gan.discriminator.parameters())


def test_a_run_resumes_to_the_same_bits_and_exports_a_codec(prepared: Path, tmp_path: Path) -> None:
    numbers = config(prepared)
    Trainer(numbers.trainer, tmp_path / "whole", quiet=True).fit(CodecTask(numbers))
    (tmp_path / "half").mkdir()
    (tmp_path / "whole" / "step-00000004.pt").rename(tmp_path / "half" / "step-00000004.pt")
    Trainer(numbers.trainer, tmp_path / "half", quiet=True).fit(CodecTask(numbers))
    whole, half = (load_codec(tmp_path / name / "final") for name in ("whole", "half"))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, half.state_dict()[name]), name


def test_validation_reports_one_and_all_codebooks(prepared: Path) -> None:
    metrics = CodecTask(config(prepared)).validate()
    assert set(metrics) == {
        "spectral_nq1",
        "spectral_nq2",
        "codebook_usage",
        "codebook_usage/0",
        "codebook_usage/1",
        "loss",
    }
    assert all(np.isfinite(value) for value in metrics.values())


@pytest.fixture(scope="module")
def units(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("units") / "final"
    fit_kmeans(KMeansConfig(train_data=(str(prepared),), n_units=6), folder)
    return folder


def sacodec(prepared: Path, units: Path, **changes: Any) -> CodecTrainConfig:
    numbers = {
        "name": "sacodec", "codec": SACODEC, "semantic_centroids": str(units), "commit_weight": [25.0, 5.0],
        "spectral_weight": 45.0, "quantizer_start_step": 0,
    }  # fmt: skip
    return config(prepared, **(numbers | changes))


def test_a_sacodec_trains_and_keeps_its_centroids(prepared: Path, units: Path, tmp_path: Path) -> None:
    numbers = sacodec(prepared, units)
    Trainer(numbers.trainer, tmp_path, quiet=True).fit(CodecTask(numbers))
    trained = load_codec(tmp_path / "final")
    stored = checkpoint.load(units).tensors["centroids"]
    frozen = trained.state_dict()["quantizer.codebooks.0.frozen"]
    assert frozen.numpy().tobytes() == stored.numpy().tobytes()


def test_both_commitment_losses_are_weighted_and_logged(prepared: Path, units: Path) -> None:
    task = CodecTask(sacodec(prepared, units))
    logs = task.training_step(0)
    assert logs["loss/commit"] == pytest.approx(logs["loss/commit_0"] + logs["loss/commit_1"])
    light = CodecTask(sacodec(prepared, units, commit_weight=[0.0, 0.0]))
    light.training_step(0)
    projections = [n for n in task.codec.state_dict() if ".proj." in n]
    # Only its own loss moves a projection; without it only weight decay does, equally for both.
    moved = [
        float((task.codec.state_dict()[n] - light.codec.state_dict()[n]).abs().max()) for n in projections
    ]
    assert len(projections) == 3
    assert min(moved) > 1e-4


def test_the_usage_of_both_codebooks_is_reported(prepared: Path, units: Path) -> None:
    task = CodecTask(sacodec(prepared, units, disc_start_step=100))
    for step in range(3):
        task.training_step(step)
    metrics = task.validate()
    assert 0 < metrics["codebook_usage/0"] <= 1
    assert 0 < metrics["codebook_usage/1"] <= 1
    assert {"spectral_nq1", "spectral_nq2", "loss"} <= set(metrics)


def test_a_frozen_sacodec_keeps_its_codes(prepared: Path, units: Path, wav: Tensor) -> None:
    task = CodecTask(sacodec(prepared, units))
    for step in range(5):
        task.training_step(step)
    before, decoder = codes(task, wav), decoder_of(task)
    for step in range(5, 8):
        task.training_step(step)
    assert torch.equal(codes(task, wav), before)
    assert not all(torch.equal(a, b) for a, b in zip(decoder, decoder_of(task), strict=True))


def test_a_sacodec_without_centroids_is_refused(prepared: Path) -> None:
    with pytest.raises(ValueError, match="sacodec needs k-means centroids"):
        CodecTask(config(prepared, name="sacodec", codec=SACODEC))


@pytest.mark.parametrize(
    "quantizer",
    [
        {"n_q": 1, "codebook_size": 32},
        {"n_q": 2, "codebook_size": 16, "kind": "factorized", "factorized_dim": 4},
        {"n_q": 2, "codebook_size": 16, "kind": "simvq"},
    ],
    ids=["single", "factorized", "simvq"],
)
def test_every_kind_of_quantizer_learns(prepared: Path, quantizer: dict[str, Any]) -> None:
    numbers = {"codec": CODEC | {"quantizer": quantizer}, "disc_start_step": 100, "freeze_encoder_step": 101}
    task = CodecTask(config(prepared, **numbers, quantizer_start_step=0, commit_weight=1.0))
    task.training_step(0)
    before = {n: t.clone() for n, t in task.codec.quantizer.state_dict().items()}
    losses = [task.training_step(step)["loss/spectral"] for step in range(1, 15)]
    assert np.mean(losses[-3:]) < 0.95 * np.mean(losses[:3])
    after = task.codec.quantizer.state_dict()
    moved = {name.split(".", 2)[2] for name in after if not torch.equal(after[name], before[name])}
    assert moved & {"entries", "proj.weight"}


def test_the_codecs_name_and_config_are_checked_first(prepared: Path) -> None:
    with pytest.raises(ValueError, match="no codec is called 'opus'; known: encodec, melcodec"):
        config(prepared, name="opus", codec={})
    with pytest.raises(ConfigError, match="codec encodec: unknown key 'encoder'"):
        config(prepared, name="encodec")


def test_the_encoder_cannot_be_frozen_before_the_quantizer_starts(prepared: Path) -> None:
    with pytest.raises(
        ConfigError, match="freeze_encoder_step must be greater than quantizer_start_step, got 2 and 2"
    ):
        config(prepared, freeze_encoder_step=2)
