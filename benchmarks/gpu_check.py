"""Compare training on a GPU with training on the CPU for every task, and measure the speed of both.

    python -m benchmarks.gpu_check [--only codec finetune] [--sizes]

Every task is made tiny and trained on dummy clips for two steps, validated, saved, resumed and trained for
two more
steps: on the CPU, on the GPU, and from each to the other. The table shows the largest difference of any
logged metric from the CPU's, relative where the metric is above 1. Excluded are discrete metrics (accuracies,
codebook usage), where rounding may flip one item of few, and the gradient norm, which jumps with the sign of
a gradient; the losses of the next step reflect it. Random numbers are drawn on the CPU except for dropout,
which is switched off; precision is fp32 and cuDNN convolutions do not use TF32. --sizes measures the configs
in configs/ as they are (with PyTorch's default TF32 settings) and the peak GPU memory.
Exits with 1 without a GPU, or if a difference is above the tolerance.
"""

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lip2speech.config import from_dict, load_config, read_config
from lip2speech.train.code_prior.task import CodePriorTask, CodePriorTrainConfig
from lip2speech.train.codec import CodecTask, CodecTrainConfig
from lip2speech.train.core.checkpointing import resume, save_checkpoint
from lip2speech.train.core.dummy_data import DummyData
from lip2speech.train.core.task import TrainingTask
from lip2speech.train.finetune.config import FinetuneConfig
from lip2speech.train.finetune.task import FinetuneTask
from lip2speech.train.speaker.task import SpeakerTask, SpeakerTrainConfig
from lip2speech.train.vocoder.hifigan import HiFiGANTask, HiFiGANTrainConfig
from lip2speech.train.vocoder.wavenet import WaveNetTask, WaveNetTrainConfig
from lip2speech.utils.device import CPU
from tests.factories import CODEC, MODEL
from tests.train.codec.test_family import SMALL
from tests.train.core.test_dry_run import FINETUNE, HEADS, TASKS, TRAINER

CONFIGS = Path(__file__).parents[1] / "configs"
STEPS = 2
TOLERANCE = 1e-2
"""Relative difference of a metric. Two steps of AdamW amplify small differences beyond rounding."""

SHORT = {"trainer": TRAINER, "quantizer_start_step": 1, "disc_start_step": 1, "freeze_encoder_step": 3}
EXCLUDED = {"acc", "codebook_usage", "offset", "eer", "grad_norm"}
"""Metrics, by any part of their log key, that are discrete or jump."""

FAMILY = {name: read_config(CONFIGS / "codec" / f"{name}.yaml") | values for name, values in SMALL.items()}
SEGMENT_SECONDS = 0.1  # of codec training
DISCRIMINATOR = {"filters": 2, "n_ffts": [128]}
QUANTIZERS = {
    kind: {"codec": CODEC | {"quantizer": CODEC["quantizer"] | {"kind": kind}}, "msstftd": DISCRIMINATOR}
    for kind in ("simvq", "factorized", "vqvae")
}
ALL_LOSSES = FINETUNE | {
    "model": MODEL | {"heads": HEADS | {"pitch_dim": 8}}, "sampling_weights": [], "max_frames_per_batch": 80,
    "weights": {"ctc": 0.1, "estoi": 0.1, "pitch": 0.1}, "train_chunk_sizes": [5, 0],
}  # fmt: skip
CASES: dict[str, tuple[Any, Any]] = {
    **{name: (task, from_dict(cls, values)) for name, (task, cls, values, _) in TASKS.items()},
    "all losses": (FinetuneTask, from_dict(FinetuneConfig, ALL_LOSSES)),
    **{
        name: (CodecTask, from_dict(CodecTrainConfig, values | SHORT))
        for name, values in (FAMILY | QUANTIZERS).items()
    },
}
"""Name -> a task and its config, whose clips and teachers are dummies."""

SIZES: dict[str, tuple[Any, Any]] = {
    "finetune/stage1_multitask": (FinetuneTask, FinetuneConfig),
    "codec/default": (CodecTask, CodecTrainConfig),
    "codec/encodec": (CodecTask, CodecTrainConfig),
    "codec/sacodec": (CodecTask, CodecTrainConfig),
    "vocoder/hifigan": (HiFiGANTask, HiFiGANTrainConfig),
    "vocoder/wavenet": (WaveNetTask, WaveNetTrainConfig),
    "code_prior/default": (CodePriorTask, CodePriorTrainConfig),
    "speaker/default": (SpeakerTask, SpeakerTrainConfig),
}
"""File in configs/ -> its task and config class."""


def task_factory(name: str, folder: Path) -> Callable[[], TrainingTask]:
    """Write the dummy data of a case to `folder`; returns a function that builds its task."""
    task_class, config = CASES[name]
    config = task_class.dummy_config(config, DummyData(folder))
    if isinstance(config, CodecTrainConfig):
        config = replace(config, data=replace(config.data, seconds=SEGMENT_SECONDS))
    return lambda: without_dropout(task_class(config))


def without_dropout(task: TrainingTask) -> TrainingTask:
    """The task with dropout switched off."""
    for network in task.networks().values():
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            elif isinstance(getattr(module, "dropout", None), float):
                module.dropout = 0.0  # type: ignore[assignment]
    return task


def train(
    make: Callable[[], TrainingTask], devices: tuple[torch.device, ...], folder: Path
) -> tuple[list[dict[str, float]], float]:
    """Train and validate on each device in turn, resuming from a checkpoint in `folder`.

    Returns:
        logged metrics, and steps per second of the last step.
    """
    folder.mkdir()
    rows = []
    for device in devices:
        task = make()
        task.to(device)
        start = resume(task, folder).step
        for step in range(start, start + STEPS):
            start_time = time.perf_counter()
            rows.append(task.training_step(step))
            seconds = time.perf_counter() - start_time
        rows.append(task.validate())
        save_checkpoint(task, start + STEPS, folder, 1)
    assert all(wav.isfinite().all() for wav in task.samples().values()), "a sample is not finite"
    task.export(folder / "final")
    return rows, 1 / seconds


def max_difference(rows: list[dict[str, float]], others: list[dict[str, float]]) -> float:
    """Largest difference of the compared metrics, relative where they are above 1.

    Infinite if one run has a metric that the other lacks, or NaN where the other has a number.
    """
    if [row.keys() for row in rows] != [row.keys() for row in others]:
        return math.inf
    pairs = [
        (a[name], b[name])
        for a, b in zip(rows, others, strict=True)
        for name in a
        if not EXCLUDED.intersection(name.split("/"))
    ]
    if any(math.isnan(a) != math.isnan(b) for a, b in pairs):
        return math.inf
    return max(abs(a - b) / max(1.0, abs(a)) for a, b in pairs if not math.isnan(a))


def compare(name: str, gpu: torch.device, folder: Path) -> tuple[list[float], list[float]]:
    """Differences of GPU, GPU then CPU, and CPU then GPU from the CPU; steps per second of CPU and GPU."""
    make = task_factory(name, folder)
    devices = {"cpu": (CPU, CPU), "gpu": (gpu, gpu), "gpu-cpu": (gpu, CPU), "cpu-gpu": (CPU, gpu)}
    runs = {run: train(make, pair, folder / run) for run, pair in devices.items()}
    rows = runs["cpu"][0]
    differences = [max_difference(rows, runs[run][0]) for run in ("gpu", "gpu-cpu", "cpu-gpu")]
    return differences, [runs[run][1] for run in ("cpu", "gpu")]


def print_comparison(names: list[str], gpu: torch.device) -> bool:
    """Print the table of differences; returns whether all are within the tolerance."""
    print("| task | GPU | GPU, then CPU | CPU, then GPU | steps/s, CPU | steps/s, GPU |", flush=True)
    print("|---|---|---|---|---|---|", flush=True)
    worst = 0.0
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            differences, speeds = compare(name, gpu, Path(folder))
        worst = max(worst, *differences)
        cells = [f"{x:.1e}" for x in differences] + [f"{x:.1f}" for x in speeds]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print(f"largest difference {worst:.1e}, tolerance {TOLERANCE:.0e}")
    return worst <= TOLERANCE


def steps_per_second(task_class: Any, config: Any, device: torch.device, steps: int) -> float:
    """Steps per second of a config on dummy clips, without the first step, which warms up."""
    with tempfile.TemporaryDirectory() as folder:
        task = task_class(task_class.dummy_config(config, DummyData(Path(folder))))
    task.to(device)
    task.training_step(0)
    start_time = time.perf_counter()
    for step in range(1, steps):
        task.training_step(step)
    return (steps - 1) / (time.perf_counter() - start_time)


def print_speeds(gpu: torch.device) -> None:
    """Print the speed of the configs in configs/."""
    print("| config | batch | steps/s, CPU | steps/s, GPU | bf16 | peak GPU MiB |", flush=True)
    print("|---|---|---|---|---|---|", flush=True)
    for name, (task_class, config_class) in SIZES.items():
        config = load_config(config_class, CONFIGS / f"{name}.yaml", [])
        fp32, bf16 = (
            replace(config, trainer=replace(config.trainer, precision=precision))
            for precision in ("fp32", "bf16")
        )
        cpu_speed = steps_per_second(task_class, fp32, CPU, 2)
        torch.cuda.reset_peak_memory_stats(gpu)
        gpu_speeds = [steps_per_second(task_class, each, gpu, 20) for each in (fp32, bf16)]
        peak = torch.cuda.max_memory_allocated(gpu) / 2**20
        cells = " | ".join(f"{x:.2f}" for x in (cpu_speed, *gpu_speeds))
        print(f"| {name} | {config.trainer.batch_size} | {cells} | {peak:.0f} |", flush=True)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=CASES, default=list(CASES), metavar="TASK")
    parser.add_argument("--sizes", action="store_true", help="also measure the configs in configs/")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no GPU here: torch.cuda.is_available() is False.")
    gpu = torch.device("cuda", 0)
    print(
        f"torch {torch.__version__}, {torch.cuda.get_device_name(gpu)}, {torch.get_num_threads()} CPU threads"
    )
    if given.sizes:
        print_speeds(gpu)
    torch.backends.cudnn.allow_tf32 = False
    sys.exit(0 if print_comparison(given.only, gpu) else 1)


if __name__ == "__main__":
    main()
