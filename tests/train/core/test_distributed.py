"""Training in two processes (lip2speech/utils/distributed.py, lip2speech/train/core/)."""

import json
from dataclasses import replace
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lip2speech import checkpoint
from lip2speech.train.core.micro_batch import MicroBatch
from lip2speech.train.core.trainer import Trainer
from tests.train.processes import (
    LINE,
    Line,
    codec_task,
    lip_task,
    pretrain_task,
    run_distributed,
    train_quantizer,
    train_together,
)

VECTORS = torch.randn(8, 3, 10, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Path:
    """The folder that two processes trained in."""
    folder = tmp_path_factory.mktemp("together")
    run_distributed(train_together, folder, prepared, VECTORS)
    return folder


@pytest.fixture(scope="module")
def ranks(out: Path) -> list[dict[str, Any]]:
    """The results of each rank."""
    return [torch.load(out / f"rank{rank}.pt") for rank in (0, 1)]


def two_micro_batches() -> list[MicroBatch]:
    """The micro-batches of a process that accumulates two."""
    return [MicroBatch(0, 2, True, False), MicroBatch(1, 2, False, True)]


def max_difference(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """The largest difference of two sets of tensors."""
    assert a.keys() == b.keys()
    return max(float((a[name].float() - b[name].float()).abs().max()) for name in a)


def train_alone(folder: Path, batch_size: int, config: Any = LINE) -> dict[str, Tensor]:
    """What a single process exports."""
    Trainer(config, folder, quiet=True).fit(Line(batch_size))
    return checkpoint.load(folder / "final").tensors


def test_two_processes_equal_one_with_the_same_global_batch(out: Path, tmp_path: Path) -> None:
    exported = checkpoint.load(out / "line" / "final").tensors
    assert max_difference(exported, train_alone(tmp_path / "whole", 4)) < 1e-6
    assert max_difference(exported, train_alone(tmp_path / "half", 2)) > 1e-3


def test_two_micro_batches_equal_a_batch_of_double_size(tmp_path: Path) -> None:
    accumulated = train_alone(tmp_path / "accumulated", 2, replace(LINE, grad_accum_steps=2))
    assert max_difference(accumulated, train_alone(tmp_path / "whole", 4)) < 1e-6


def test_two_processes_equal_two_micro_batches_of_one_process_to_the_bit(ranks: list, prepared: Path) -> None:
    """Also with dropout and augmentation; only running statistics of batch norms differ."""
    task = lip_task(prepared)
    for step in range(3):
        for micro_batch in two_micro_batches():
            task.training_step(step, micro_batch)
    expected = {name: p.detach() for name, p in task.model.named_parameters()}
    for own in ranks:
        assert all(torch.equal(own["lip"][name], p) for name, p in expected.items())


def test_two_processes_pretrain_as_the_two_micro_batches_of_one(
    ranks: list, out: Path, prepared: Path, tmp_path: Path
) -> None:
    """Masks and modalities differ by micro-batch; each process computes its share of the clusters."""
    task = pretrain_task(prepared, tmp_path)
    for step in range(4):
        for micro_batch in two_micro_batches():
            task.training_step(step, micro_batch)
    expected = {name: p.detach() for name, p in task.model.named_parameters()}
    for own in ranks:
        assert all(torch.equal(own["pretrain"][name], p) for name, p in expected.items())
        pairs = zip(own["clusters"], task.train_set.clusters, strict=True)
        assert all(torch.equal(mine, theirs) for mine, theirs in pairs)
    kept = [folder / "clusters-train.safetensors" for folder in (out / "pretrain", tmp_path)]
    assert kept[0].read_bytes() == kept[1].read_bytes()


def test_processes_end_with_equal_weights_statistics_and_discriminators(ranks: list) -> None:
    first, second = ranks
    assert max_difference(first["lip"], second["lip"]) == 0
    for path in (("codec",), ("gan", "discriminator"), ("ema", "shadow")):
        a, b = (reduce(getitem, path, own["codec"]) for own in (first, second))
        assert max_difference(a, b) == 0, path
    assert first["codec"]["balancer"] == second["codec"]["balancer"]


def test_discriminators_learn_in_two_processes_as_in_micro_batches_of_one(
    ranks: list, prepared: Path
) -> None:
    """Nearly: codebooks and balancer see all processes at once, but one micro-batch at a time."""
    task = codec_task(prepared)
    before = {k: v.clone() for k, v in task.state_dict()["gan"]["discriminator"].items()}
    for step in range(6):
        for micro_batch in two_micro_batches():
            task.training_step(step, micro_batch)
    after = task.state_dict()["gan"]["discriminator"]
    assert max_difference(after, ranks[0]["codec"]["gan"]["discriminator"]) < 0.2 * max_difference(
        after, before
    )


def test_codebooks_are_updated_with_the_vectors_of_all_processes(ranks: list) -> None:
    first, second = (own["quantizer"] for own in ranks)
    assert max_difference(first, second) == 0
    assert max_difference(first, train_quantizer(VECTORS)) < 1e-6


def test_all_processes_skip_a_step_whose_gradient_is_not_finite_in_one(out: Path, ranks: list) -> None:
    assert [own["skipped_steps"] for own in ranks] == [1, 1]
    assert max_difference(ranks[0]["line"], ranks[1]["line"]) == 0
    assert all(tensor.isfinite().all() for tensor in ranks[0]["line"].values())
    rows = [json.loads(line) for line in (out / "bad" / "log.jsonl").read_text().splitlines()]
    assert [row["skipped_steps"] for row in rows if "valid" not in row] == [0, 1, 1]


def test_a_signal_to_one_process_stops_all_and_rank_0_saves(out: Path, ranks: list) -> None:
    assert [own["seen"] for own in ranks] == [2, 2]
    assert [p.name for p in (out / "stopped").glob("step-*")] == ["step-00000002.pt"]
    assert not (out / "stopped" / "final").exists()


def test_only_rank_0_validates_and_writes(out: Path) -> None:
    rows = [json.loads(line) for line in (out / "line" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 3, 4, 6, 6]
    assert [row["valid"] for row in rows if "valid" in row] == [{"loss": 0.0}] * 2
    assert sorted(p.name for p in (out / "line").glob("step-*")) == ["step-00000003.pt", "step-00000006.pt"]


def test_rows_are_gathered_also_from_a_process_without_rows(ranks: list) -> None:
    assert [own["gathered"].tolist() for own in ranks] == [[[1], [1]]] * 2


def test_processes_share_an_epoch_without_repeating_a_clip(ranks: list) -> None:
    in_turn = [batch for pair in zip(*(own["epoch"] for own in ranks), strict=True) for batch in pair]
    assert len(in_turn) == 6
    for epoch in (in_turn[:3], in_turn[3:]):
        assert sorted(i for batch in epoch for i in batch) == list(range(5))
