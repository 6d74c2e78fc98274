"""Compare training on a GPU with training on the CPU, for every task, and tell how fast either is.

    python -m benchmarks.gpu_check [--only codec finetune] [--sizes]

Every task is made very small and learns from made-up clips for two updates, is validated, written as a
snapshot, and goes on from it for two more: on the CPU alone, on the GPU alone, and from each to the other.
The table shows the largest difference of any logged figure from the CPU's, as a share of it where it is above
1; left out are those that count (entries used, units that are right), for a hair may turn one of few, and the
gradient's norm, which jumps where a sign turns: the losses of the next update tell of it. What is
drawn at random is drawn on the CPU, but for dropout, which is switched off; precision is fp32 and cuDNN's
convolutions may not round to TF32. --sizes times the recipes of configs/ as they are (these round as PyTorch
does by default), with the most memory that PyTorch had in use on the GPU.
Without a GPU it says so and ends with 1; also where a difference is above the tolerance.
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

from lip2speech.config import from_dict, load_config, load_yaml
from lip2speech.device import CPU
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
from tests.factories import CODEC, MODEL
from tests.train.codec.test_family import SMALL
from tests.train.core.test_dry_run import FINETUNE, HEADS, LOOP, RECIPES

CONFIGS = Path(__file__).parents[1] / "configs"
UPDATES = 2
TOLERANCE = 1e-2
"""Of a figure's share. Two updates of AdamW make more of small differences than rounding does."""

SHORT = {"trainer": LOOP, "quantizer_start_step": 1, "disc_start_step": 1, "freeze_encoder_step": 3}
LEFT_OUT = ("used", "acc", "right", "lag", "eer", "grad_norm")
"""How the names of figures end that count, or jump."""

FAMILY = {name: load_yaml(CONFIGS / "codec" / f"{name}.yaml") | numbers for name, numbers in SMALL.items()}
SECONDS = 0.1  # of a codec's segments
JUDGE = {"filters": 2, "n_ffts": [128]}
KINDS = {
    kind: {"codec": CODEC | {"quantizer": CODEC["quantizer"] | {"kind": kind}}, "msstftd": JUDGE}
    for kind in ("simvq", "factorized", "vqvae")
}
ALL_LOSSES = FINETUNE | {
    "model": MODEL | {"heads": HEADS | {"pitch_dim": 8}}, "sampling_weights": [], "max_frames_per_batch": 80,
    "weights": {"ctc": 0.1, "estoi": 0.1, "pitch": 0.1}, "train_chunk_sizes": [5, 0],
}  # fmt: skip
CASES: dict[str, tuple[Any, Any]] = {
    **{name: (task, from_dict(kind, numbers)) for name, (task, kind, numbers, _) in RECIPES.items()},
    "all losses": (FinetuneTask, from_dict(FinetuneConfig, ALL_LOSSES)),
    **{
        name: (CodecTask, from_dict(CodecTrainConfig, numbers | SHORT))
        for name, numbers in (FAMILY | KINDS).items()
    },
}
"""Name -> a task and its recipe, whose clips and teachers are made up."""

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


def made_up(name: str, folder: Path) -> Callable[[], TrainingTask]:
    """What makes the task of a case; its clips and teachers are written into `folder`."""
    kind, config = CASES[name]
    config = kind.dummy_config(config, DummyData(folder))
    if isinstance(config, CodecTrainConfig):
        config = replace(config, data=replace(config.data, seconds=SECONDS))
    return lambda: without_dropout(kind(config))


def without_dropout(task: TrainingTask) -> TrainingTask:
    """The same, but its networks drop nothing."""
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
    """Two updates and a validation on each device in turn, over a snapshot in `folder`: what they told, and
    updates a second of the last."""
    folder.mkdir()
    rows = []
    for device in devices:
        task = make()
        task.to(device)
        start = resume(task, folder)
        for step in range(start, start + UPDATES):
            began = time.perf_counter()
            rows.append(task.training_step(step))
            seconds = time.perf_counter() - began
        rows.append(task.validate())
        save_checkpoint(task, start + UPDATES, folder, 1)
    assert all(sound.isfinite().all() for sound in task.samples().values()), "a sample is not finite"
    task.export(folder / "final")
    return rows, 1 / seconds


def apart(rows: list[dict[str, float]], others: list[dict[str, float]]) -> float:
    """The largest difference of two runs' figures that are not left out, as a share where they are above 1;
    infinite where one has a figure that the other lacks, or that is no number there alone."""
    if [row.keys() for row in rows] != [row.keys() for row in others]:
        return math.inf
    pairs = [
        (a[name], b[name])
        for a, b in zip(rows, others, strict=True)
        for name in a
        if not name.endswith(LEFT_OUT)
    ]
    if any(math.isnan(a) != math.isnan(b) for a, b in pairs):
        return math.inf
    return max(abs(a - b) / max(1.0, abs(a)) for a, b in pairs if not math.isnan(a))


def compare(name: str, gpu: torch.device, folder: Path) -> tuple[list[float], list[float]]:
    """How far GPU, GPU then CPU, and CPU then GPU are from the CPU; updates a second of CPU and GPU."""
    make = made_up(name, folder)
    paths = {"cpu": (CPU, CPU), "gpu": (gpu, gpu), "gpu-cpu": (gpu, CPU), "cpu-gpu": (CPU, gpu)}
    runs = {path: train(make, devices, folder / path) for path, devices in paths.items()}
    rows = runs["cpu"][0]
    return [apart(rows, runs[path][0]) for path in list(paths)[1:]], [
        runs[path][1] for path in ("cpu", "gpu")
    ]


def table(names: list[str], gpu: torch.device) -> bool:
    """Print the comparison; whether every difference is within the tolerance."""
    print("| task | GPU | GPU, then CPU | CPU, then GPU | updates/s, CPU | updates/s, GPU |", flush=True)
    print("|---|---|---|---|---|---|", flush=True)
    worst = 0.0
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            far, paces = compare(name, gpu, Path(folder))
        worst = max(worst, *far)
        cells = [f"{x:.1e}" for x in far] + [f"{x:.1f}" for x in paces]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print(f"largest difference {worst:.1e}, tolerance {TOLERANCE:.0e}")
    return worst <= TOLERANCE


def pace(kind: Any, config: Any, device: torch.device, updates: int) -> float:
    """Updates a second of a recipe on made-up clips, after the first, which warms up."""
    with tempfile.TemporaryDirectory() as folder:
        task = kind(kind.dummy_config(config, DummyData(Path(folder))))
    task.to(device)
    task.training_step(0)
    began = time.perf_counter()
    for step in range(1, updates):
        task.training_step(step)
    return (updates - 1) / (time.perf_counter() - began)


def sizes(gpu: torch.device) -> None:
    """Print how fast the recipes are."""
    print("| recipe | batch | updates/s, CPU | updates/s, GPU | bf16 | MiB on the GPU |", flush=True)
    print("|---|---|---|---|---|---|", flush=True)
    for name, (kind, of) in SIZES.items():
        config = load_config(of, CONFIGS / f"{name}.yaml", [])
        plain, half = (
            replace(config, trainer=replace(config.trainer, precision=precision))
            for precision in ("fp32", "bf16")
        )
        slow = pace(kind, plain, CPU, 2)
        torch.cuda.reset_peak_memory_stats(gpu)
        paces = [pace(kind, given, gpu, 20) for given in (plain, half)]
        used = torch.cuda.max_memory_allocated(gpu) / 2**20
        cells = " | ".join(f"{x:.2f}" for x in (slow, *paces))
        print(f"| {name} | {config.trainer.batch_size} | {cells} | {used:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=CASES, default=list(CASES), metavar="TASK")
    parser.add_argument("--sizes", action="store_true", help="time the recipes of configs/, too")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no GPU here: torch.cuda.is_available() is False.")
    gpu = torch.device("cuda", 0)
    print(
        f"torch {torch.__version__}, {torch.cuda.get_device_name(gpu)}, {torch.get_num_threads()} CPU threads"
    )
    if given.sizes:
        sizes(gpu)
    torch.backends.cudnn.allow_tf32 = False
    sys.exit(0 if table(given.only, gpu) else 1)


if __name__ == "__main__":
    main()
