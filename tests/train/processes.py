"""Child processes for the training tests, and what they run: two that train together, one that is killed.

They come from a fork server that has torch already, so that each costs a tenth of a second.
"""

import math
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lip2speech import checkpoint
from lip2speech.codecs.quantization import QuantizerConfig, ResidualVQ
from lip2speech.config import from_dict
from lip2speech.train.codec import CodecTask, CodecTrainConfig
from lip2speech.train.core.config import OptimizerConfig, TrainerConfig
from lip2speech.train.core.ema import EMA
from lip2speech.train.core.micro_batch import FULL_BATCH, MicroBatch, micro_batches, seed_step
from lip2speech.train.core.optim import OptimizerWithSchedule
from lip2speech.train.core.task import TrainingTask
from lip2speech.train.core.trainer import Trainer
from lip2speech.train.finetune.config import FinetuneConfig
from lip2speech.train.finetune.task import FinetuneTask
from lip2speech.train.pretrain.config import PretrainConfig
from lip2speech.train.pretrain.task import PretrainTask
from lip2speech.utils import distributed
from tests.data.test_unit_tokenizers import make_mfcc_tokenizer
from tests.factories import CODEC, MODEL

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["torch._dynamo", "tests.train.processes"])  # the first step of AdamW takes it


def start(target: Callable[..., None], *arguments: Any) -> Any:
    """Start a child process that runs `target` with one thread."""
    child = SERVER.Process(target=run_single_threaded, args=(target, arguments))
    child.start()
    return child


def run_single_threaded(target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """Run `target` with one thread."""
    torch.set_num_threads(1)
    target(*arguments)


def run_distributed(target: Callable[..., None], *arguments: Any, world: int = 2) -> None:
    """Run `target` in `world` processes of one process group, as under torchrun; all must succeed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = [start(run_rank, rank, world, port, target, arguments) for rank in range(world)]
    for child in children:
        child.join(100)
    assert [child.exitcode for child in children] == [0] * world


def run_rank(
    rank: int, world: int, port: int, target: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    """One process of `run_distributed`."""
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": world, "RANK": rank}
    os.environ.update({name: str(value) for name, value in environment.items()})
    with distributed.process_group():
        target(*arguments)


class Line(TrainingTask):
    """Linear regression without dropout.

    At step `bad` the loss of the last micro-batch is NaN; at step `stopped` the process with the last
    micro-batch gets SIGTERM.
    """

    def __init__(self, batch_size: int, *, bad: int = -1, stopped: int = -1):
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
        self.unused = nn.Linear(2, 2)  # by the first micro-batch of each step
        both = [*self.net.parameters(), *self.unused.parameters()]
        self.optimizer = OptimizerWithSchedule(both, OptimizerConfig(lr=0.05, warmup_steps=2), 10)
        self.ema = EMA(self.net, 0.9)
        self.batch_size, self.bad, self.stopped, self.seen = batch_size, bad, stopped, 0

    def training_step(self, step: int, micro_batch: MicroBatch = FULL_BATCH) -> dict[str, float]:
        x = seed_step(0, step, micro_batch).standard_normal((micro_batch.count * self.batch_size, 3))
        x = self.to_device(torch.from_numpy(micro_batch.shard(x)).float())
        loss = (self.net(x) - x.sum(1, keepdim=True)).pow(2).mean()
        self.seen = step + 1
        if micro_batch.index == micro_batch.count - 1:
            if step == self.stopped:
                os.kill(os.getpid(), signal.SIGTERM)
            loss = loss + self.unused(x[:, :2]).pow(2).mean() * (math.nan if step == self.bad else 0)
        grad = self.optimizer.step(loss, step, micro_batch)
        self.ema.update(self.net, micro_batch)
        return {"loss": loss.item(), "grad_norm": grad, "skipped_steps": self.optimizer.skipped_steps}

    def validate(self) -> dict[str, float]:
        return {"loss": float(distributed.rank())}

    def checkpointed(self) -> dict[str, Any]:
        return {"net": self.net, "ema": self.ema, "optimizer": self.optimizer}

    def export(self, folder: Path) -> None:
        tensors = {f"net.{k}": v for k, v in self.net.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.shadow.items()}
        checkpoint.save(folder, {"kind": "line"}, tensors, "", overwrite=True)


def lip_task(folder: Path, **changes: Any) -> FinetuneTask:
    """Fine-tuning with batch norm, dropout and augmentation, without units and codes."""
    heads = MODEL["heads"] | {"n_units": 0, "n_q": 0, "dropout": 0.2}
    values: dict[str, Any] = {
        "model": MODEL | {"heads": heads},
        "train_data": [str(folder)],
        "trainer": {"steps": 3, "batch_size": 2},
    }
    return FinetuneTask(from_dict(FinetuneConfig, values | changes))


def pretrain_task(folder: Path, out: Path) -> PretrainTask:
    """Pre-training with masks, modality dropout, batch norm and dropout; clusters are stored in `out`."""
    stored, tensors = make_mfcc_tokenizer(5).state()
    units = out / f"units{distributed.rank()}"
    checkpoint.save(units, stored, tensors, "")
    values: dict[str, Any] = {
        "frontend": MODEL["frontend"],
        "iterations": [{"n_units": 5, "unit_tokenizer": str(units)}],
        "train_data": [str(folder)],
        "trainer": {"steps": 4, "batch_size": 2},
        "final_dim": 8,
    }
    return PretrainTask(from_dict(PretrainConfig, values), out)


def codec_task(folder: Path, **trainer: Any) -> CodecTask:
    """Codec training with everything that has a state: codebooks, GAN, balancer, two optimizers, EMA."""
    values = {
        "codec": CODEC,
        "trainer": {"steps": 16, "batch_size": 2, "save_every": 1, "valid_every": 99} | trainer,
        "data": {"prepared_dirs": [str(folder)], "seconds": 0.1},
        "msstftd": {"filters": 2, "n_ffts": [128]},
        "disc_update_prob": 0.7,
        "quantizer_start_step": 1,
        "disc_start_step": 3,
        "freeze_encoder_step": 1000,
        "use_balancer": True,
    }
    return CodecTask(from_dict(CodecTrainConfig, values))


def train_quantizer(rows: Tensor) -> dict[str, Tensor]:
    """State of a quantizer after two training steps on this process' share of vectors (8, C, T)."""
    torch.manual_seed(1)
    quantizer = ResidualVQ(
        QuantizerConfig(n_q=2, codebook_size=4, codebook_dim=3, dead_code_threshold=0.0)
    ).train()
    n_codebooks = torch.tensor([2] * 4 + [1] * 4)  # the second process does not use the second codebook
    own, own_n_codebooks = (
        x.chunk(distributed.world_size())[distributed.rank()] for x in (rows, n_codebooks)
    )
    quantizer(own)
    quantizer(own, own_n_codebooks)
    return quantizer.state_dict()


def train_together(out: Path, prepared: Path, rows: Tensor) -> None:
    """Everything that two processes train in the tests; each rank saves its results."""
    Trainer(LINE, out / "line", quiet=True).fit(Line(2))
    Trainer(LINE, out / "bad", quiet=True).fit(bad := Line(2, bad=2))
    Trainer(LINE, out / "stopped", quiet=True).fit(stopped := Line(2, stopped=1))
    own: dict[str, Any] = {
        "seen": stopped.seen,
        "line": bad.net.state_dict(),
        "skipped_steps": bad.optimizer.skipped_steps,
    }
    lip = lip_task(prepared)
    for step in range(3):
        for micro_batch in micro_batches(1):
            lip.training_step(step, micro_batch)
    pretrain = pretrain_task(prepared, out / "pretrain")
    for step in range(4):
        for micro_batch in micro_batches(1):
            pretrain.training_step(step, micro_batch)
    own |= {"pretrain": pretrain.model.state_dict(), "clusters": pretrain.train_set.clusters}
    own |= {"lip": lip.model.state_dict(), "quantizer": train_quantizer(rows)}
    codec = codec_task(prepared)
    for step in range(6):
        for micro_batch in micro_batches(1):
            codec.training_step(step, micro_batch)
    own |= {"codec": codec.state_dict()}
    rank = distributed.rank()
    own |= {"gathered": distributed.all_gather_rows(torch.full((2 * rank, 1), rank))}
    sampler = lip_task(prepared, max_frames_per_batch=40).sampler
    own |= {
        "epoch": [
            sampler.next_batch(micro_batch)
            for _ in range(sampler.batches_per_epoch)
            for micro_batch in micro_batches(1)
        ]
    }
    torch.save(own, out / f"rank{rank}.pt")


LINE = TrainerConfig(steps=6, save_every=3, log_every=2, valid_every=3)


def train_until_killed(prepared: Path, folder: Path, connection: Any, dies: str) -> None:
    """Signal readiness and train; die while a checkpoint is written, or right after it was renamed."""
    task = codec_task(prepared)
    if dies == "writing":
        write = torch.save
        torch.save = lambda state, file: (write(state, file), file.truncate(1000), os.kill(os.getpid(), 9))
    if dies == "renamed":
        rename = Path.replace
        Path.replace = lambda a, b: (rename(a, b), os.kill(os.getpid(), 9))  # type: ignore[method-assign]
    connection.send("ready")
    Trainer(task.config.trainer, folder, quiet=True).fit(task)
