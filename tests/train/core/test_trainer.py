"""The trainer, its optimizer, EMA and random numbers (lip2speech/train/core/)."""

import json
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lip2speech import checkpoint
from lip2speech.config import ConfigError, from_dict
from lip2speech.train.core.config import OptimizerConfig, TrainerConfig
from lip2speech.train.core.ema import EMA
from lip2speech.train.core.micro_batch import FULL_BATCH, MicroBatch, seed_step
from lip2speech.train.core.optim import OptimizerWithSchedule
from lip2speech.train.core.task import TrainingTask
from lip2speech.train.core.trainer import Trainer

CONFIG = TrainerConfig(steps=10, save_every=3, log_every=2, valid_every=5)


class Killed(BaseException):
    """What `kill -9` would be; nothing in the loop catches it."""


class Small(TrainingTask):
    """Fits a line through noisy points, with dropout, so that every kind of randomness is in it."""

    def __init__(self, dies_at: int | None = None, signal_at: int | None = None):
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.3), nn.Linear(8, 1))
        self.optimizer = OptimizerWithSchedule(
            self.net.parameters(), OptimizerConfig(lr=0.05, warmup_steps=2), CONFIG.steps
        )
        self.ema = EMA(self.net, 0.9)
        self.dies_at, self.signal_at = dies_at, signal_at
        self.seen: list[int] = []

    def training_step(self, step: int, micro_batch: MicroBatch = FULL_BATCH) -> dict[str, float]:
        if step == self.dies_at:
            raise Killed
        if step == self.signal_at:
            os.kill(os.getpid(), signal.SIGTERM)
        self.seen.append(step)
        x = torch.from_numpy(seed_step(0, step).standard_normal((4, 3))).float()
        loss = (self.net(x) - x.sum(1, keepdim=True)).pow(2).mean()
        grad = self.optimizer.step(loss, step)
        self.ema.update(self.net)
        return {"loss": loss.item(), "grad_norm": grad}

    def validate(self) -> dict[str, float]:
        torch.rand(5)  # a validation that draws must not change the training
        return {"loss": 1.0}

    def checkpointed(self) -> dict[str, Any]:
        return {"net": self.net, "ema": self.ema, "optimizer": self.optimizer}

    def export(self, folder: Path) -> None:
        tensors = {f"net.{k}": v for k, v in self.net.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.ema.shadow.items()}
        checkpoint.save(folder, {"kind": "small"}, tensors, "", overwrite=True)


def final(folder: Path) -> dict[str, Tensor]:
    return checkpoint.load(folder / "final").tensors


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, Tensor]:
    """What an uninterrupted run exports."""
    Trainer(CONFIG, tmp_path / "whole", quiet=True).fit(Small())
    return final(tmp_path / "whole")


@pytest.mark.parametrize("dies_at", [0, 1, 3, 5, 9])
def test_a_killed_run_resumes_to_the_same_bits(whole: dict, tmp_path: Path, dies_at: int) -> None:
    folder = tmp_path / "killed"
    with pytest.raises(Killed):
        Trainer(CONFIG, folder, quiet=True).fit(Small(dies_at=dies_at))
    assert not (folder / "final").exists()
    second = Small()
    Trainer(CONFIG, folder, quiet=True).fit(second)
    assert second.seen == list(range(dies_at // 3 * 3, 10))
    assert same(final(folder), whole)


def test_an_incomplete_checkpoint_is_ignored_and_deleted(whole: dict, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    with pytest.raises(Killed):
        Trainer(CONFIG, folder, quiet=True).fit(Small(dies_at=4))
    (folder / "step-00000004.tmp").write_bytes(b"half a checkpo")
    Trainer(CONFIG, folder, quiet=True).fit(Small())
    assert same(final(folder), whole)
    assert not list(folder.glob("*.tmp"))


@pytest.mark.parametrize("size", [0, 100, -100], ids=["empty", "first 100 bytes", "last 100 bytes lost"])
def test_a_truncated_newest_checkpoint_is_named_and_the_one_before_it_is_resumed(
    whole: dict, tmp_path: Path, size: int
) -> None:
    folder, lines = tmp_path / "damaged", []
    with pytest.raises(Killed):
        Trainer(CONFIG, folder, quiet=True).fit(Small(dies_at=7))
    newest = folder / "step-00000006.pt"
    newest.write_bytes(newest.read_bytes()[:size])
    second = Small()
    Trainer(CONFIG, folder, log_fn=lines.append).fit(second)
    assert lines[0] == f"{newest}: damaged, kept as {newest.name}.damaged; resuming from step 3."
    assert second.seen[0] == 3
    assert same(final(folder), whole)


def test_a_damaged_checkpoint_does_not_count_among_the_newest_that_are_kept(tmp_path: Path) -> None:
    folder, config = tmp_path / "run", replace(CONFIG, keep_last_n_checkpoints=1, save_every=1)
    with pytest.raises(Killed):
        Trainer(CONFIG, folder, quiet=True).fit(Small(dies_at=7))
    (folder / "step-00000006.pt").write_bytes(b"half")
    with pytest.raises(Killed):
        Trainer(config, folder, quiet=True).fit(Small(dies_at=4))
    assert [path.name for path in folder.glob("*.pt")] == ["step-00000004.pt"]


def test_a_run_without_a_whole_checkpoint_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "step-00000003.pt").write_bytes(b"half")
    with pytest.raises(ValueError, match="step-00000003.pt: damaged.*delete them") as error:
        Trainer(CONFIG, folder, quiet=True).fit(Small())
    assert "\n" not in str(error.value)
    assert (folder / "step-00000003.pt").exists()


def test_a_checkpoint_that_cannot_be_written_leaves_the_previous_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "full"
    write, written = torch.save, []

    def save(state: dict[str, Any], file: Any) -> None:
        written.append(state["step"])
        if state["step"] == 6:
            file.write(b"half")
            raise OSError("No space left on device")
        write(state, file)

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(OSError, match="No space"):
        Trainer(CONFIG, folder, quiet=True).fit(Small())
    assert written == [3, 6]
    monkeypatch.setattr(torch, "save", write)
    second = Small()
    Trainer(CONFIG, folder, quiet=True).fit(second)
    assert second.seen[0] == 3


def test_sigterm_ends_the_run_after_the_step_with_a_checkpoint(
    whole: dict, tmp_path: Path, capsys: Any
) -> None:
    folder, before = tmp_path / "stopped", signal.getsignal(signal.SIGTERM)
    first = Small(signal_at=4)
    Trainer(CONFIG, folder).fit(first)
    assert first.seen == [0, 1, 2, 3, 4]
    assert "stopped at step 5; run the same command again to resume" in capsys.readouterr().out
    assert (folder / "step-00000005.pt").exists()
    assert signal.getsignal(signal.SIGTERM) is before
    Trainer(CONFIG, folder, quiet=True).fit(Small())
    assert same(final(folder), whole)


def test_a_signal_during_validation_ends_the_next_step(whole: dict, tmp_path: Path) -> None:
    folder = tmp_path / "stopped"
    task = Small()
    task.validate = lambda: os.kill(os.getpid(), signal.SIGINT) or {"loss": 1.0}  # type: ignore[method-assign]
    Trainer(CONFIG, folder, quiet=True).fit(task)
    assert (folder / "step-00000006.pt").exists()
    assert not (folder / "final").exists()
    Trainer(CONFIG, folder, quiet=True).fit(Small())
    assert same(final(folder), whole)


def test_a_finished_run_exports_again_without_training(whole: dict, tmp_path: Path) -> None:
    again = Small()
    Trainer(CONFIG, tmp_path / "whole", quiet=True).fit(again)
    assert again.seen == []
    assert same(final(tmp_path / "whole"), whole)


def test_training_works_in_a_thread(whole: dict, tmp_path: Path) -> None:
    thread = threading.Thread(target=Trainer(CONFIG, tmp_path / "t", quiet=True).fit, args=(Small(),))
    thread.start()
    thread.join()
    assert same(final(tmp_path / "t"), whole)


def test_only_the_newest_checkpoints_are_kept(whole: dict, tmp_path: Path) -> None:
    names = sorted(path.name for path in (tmp_path / "whole").glob("step-*"))
    assert names == ["step-00000009.pt", "step-00000010.pt"]


def test_the_log_has_one_json_row_per_interval(whole: dict, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "valid" not in row] == [2, 4, 6, 8, 10]
    assert [(row["step"], row["valid"]) for row in rows if "valid" in row] == [
        (5, {"loss": 1.0}),
        (10, {"loss": 1.0}),
    ]
    assert {"loss", "grad_norm", "sec_per_step"} <= set(rows[0])


def test_a_metric_that_is_not_finite_is_null_in_the_log(tmp_path: Path) -> None:
    task = Small()
    task.validate = lambda: {"loss": float("nan")}  # type: ignore[method-assign]
    Trainer(CONFIG, tmp_path / "run", quiet=True).fit(task)
    text = (tmp_path / "run" / "log.jsonl").read_text()
    assert "NaN" not in text
    assert json.loads(text.splitlines()[-1])["valid"] == {"loss": None}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_step_with_a_non_finite_gradient_is_skipped_and_counted(bad: float) -> None:
    weight = nn.Parameter(torch.ones(2))
    opt = OptimizerWithSchedule([weight], OptimizerConfig(warmup_steps=0), 10)
    opt.step(weight.sum(), 0)
    before, state = weight.detach().clone(), str(opt.adamw.state_dict())
    norm = opt.step((weight * bad).sum(), 1)
    assert not torch.isfinite(torch.tensor(norm))
    assert torch.equal(weight.detach(), before)
    assert str(opt.adamw.state_dict()) == state
    assert opt.skipped_steps == 1
    resumed = OptimizerWithSchedule([weight], OptimizerConfig(warmup_steps=0), 10)
    resumed.load_state_dict(opt.state_dict())
    assert resumed.skipped_steps == 1
    opt.step(weight.sum(), 2)
    assert torch.isfinite(weight).all()
    assert not torch.equal(weight.detach(), before)


def test_the_gradient_is_clipped_and_its_norm_returned() -> None:
    weight = nn.Parameter(torch.zeros(4))
    opt = OptimizerWithSchedule([weight], OptimizerConfig(grad_clip=0.5), 10)
    assert opt.step((3 * weight).sum(), 0) == pytest.approx(6.0)
    assert weight.grad is not None
    assert float(weight.grad.norm()) == pytest.approx(0.5, rel=1e-4)


def test_the_learning_rate_warms_up_and_decays_to_its_minimum() -> None:
    opt = OptimizerWithSchedule(
        [nn.Parameter(torch.zeros(1))], OptimizerConfig(lr=2.0, warmup_steps=4, min_lr_ratio=0.1), 104
    )
    rates = [opt.lr_at(step) for step in (0, 3, 4, 54, 104, 999)]
    assert rates == pytest.approx([0.5, 2.0, 2.0, 1.1, 0.2, 0.2])


def test_weight_decay_applies_to_matrices_only() -> None:
    net = nn.Linear(2, 2)
    opt = OptimizerWithSchedule(net.parameters(), OptimizerConfig(weight_decay=0.3), 10)
    decays = {p.ndim: group["weight_decay"] for group in opt.adamw.param_groups for p in group["params"]}
    assert decays == {2: 0.3, 1: 0.0}


def test_scaled_parameters_have_a_scaled_learning_rate() -> None:
    fast, slow = nn.Linear(2, 2), nn.Linear(2, 2)
    both = [*fast.parameters(), *slow.parameters()]
    config = OptimizerConfig(lr=1.0, warmup_steps=0, weight_decay=0.0, grad_clip=1e9)
    opt = OptimizerWithSchedule(both, config, 10, scaled_parameters=slow.parameters(), lr_scale=0.1)
    before = [p.detach().clone() for p in both]
    opt.step(torch.stack([p.sum() for p in both]).sum(), 0)
    moves = [(p - b).abs().mean().item() for p, b in zip(both, before, strict=True)]
    assert moves == pytest.approx([1.0, 1.0, 0.1, 0.1], rel=1e-3)


def test_the_ema_decay_warms_up() -> None:
    net = nn.BatchNorm1d(1)
    average = EMA(net, 0.5)
    with torch.no_grad():
        net.weight.fill_(3.0)
    net.num_batches_tracked.fill_(7)
    average.update(net)  # the first decay is 1 / 11
    assert float(average.shadow["weight"]) == pytest.approx(3 - 2 / 11)
    assert int(average.shadow["num_batches_tracked"]) == 7
    for _ in range(30):
        average.update(net)
    assert float(average.shadow["weight"]) == pytest.approx(3.0)


def test_the_ema_of_constant_weights_is_constant() -> None:
    net = nn.Linear(5, 5)
    average = EMA(net, 0.999)
    for _ in range(20):
        average.update(net)
    assert same(average.shadow, dict(net.state_dict()))


def test_every_step_has_its_own_random_numbers() -> None:
    drawn = []
    for step in (0, 1, 0):
        rng = seed_step(3, step)
        drawn.append((rng.random(), torch.rand(()).item()))
    assert drawn[0] == drawn[2] != drawn[1]


def test_micro_batches_share_the_drawn_batch_and_no_other_random_numbers() -> None:
    halves = [MicroBatch(i, 2) for i in range(2)]
    drawn, whole = [], seed_step(3, 1).permutation(6)
    for micro_batch in halves:
        rng = seed_step(3, 1, micro_batch)
        drawn.append(
            (
                micro_batch.shard(rng.permutation(6)),
                torch.rand(()).item(),
                micro_batch.spawn_rng(rng).random(),
            )
        )
    assert [*drawn[0][0], *drawn[1][0]] == whole.tolist()
    assert drawn[0][1] != drawn[1][1]
    assert drawn[0][2] != drawn[1][2]


@pytest.mark.parametrize(
    "name",
    ["batch_size", "grad_accum_steps", "log_every", "valid_every", "save_every", "keep_last_n_checkpoints"],
)
def test_an_interval_of_zero_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be 1 or more, got 0"):
        from_dict(TrainerConfig, {name: 0})
