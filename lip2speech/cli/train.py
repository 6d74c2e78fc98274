"""`lip2speech train`: train a task from a config; the same command resumes an interrupted run."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lip2speech.cli._errors import UsageError, one_line_errors
from lip2speech.cli._progress import progress_bar

TASKS = {
    "codec": ("lip2speech.train.codec", "CodecTask", "CodecTrainConfig"),
    "kmeans": ("lip2speech.train.kmeans", "fit_kmeans", "KMeansConfig"),
    "pretrain": ("lip2speech.train.pretrain.task", "PretrainTask", "PretrainConfig"),
    "finetune": ("lip2speech.train.finetune.task", "FinetuneTask", "FinetuneConfig"),
    "speaker": ("lip2speech.train.speaker.task", "SpeakerTask", "SpeakerTrainConfig"),
    "vocoder": ("lip2speech.train.vocoder", "TASKS", "VocoderTrainConfig"),
    "code-prior": ("lip2speech.train.code_prior.task", "CodePriorTask", "CodePriorTrainConfig"),
}
"""Task -> module, class of the task (or one for each class of config), class of the config."""

Task = Literal["codec", "kmeans", "pretrain", "finetune", "speaker", "vocoder", "code-prior"]
"""The keys of TASKS, for the command line."""


def train(
    task: Annotated[Task, typer.Argument(metavar="TASK", help="One of the tasks above.")],
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.yaml", help="A file in configs/TASK/, or your own.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Run folder: checkpoints, log and final/.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=VALUE]...", help="Overrides of the config: trainer.steps=100"),
    ] = None,
    iteration: Annotated[
        int | None, typer.Option("--iteration", help="pretrain: run this iteration only, counted from 1.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the full config, run two steps on dummy data, and exit.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing; write log.jsonl only.")] = False,
) -> None:
    """Train a task from a config; the same command resumes an interrupted run.

    \b
    codec       neural audio codec: reconstruction, then GAN
    kmeans      unit tokenizer: k-means on MFCC, HuBERT or AV-HuBERT features
    pretrain    AV-HuBERT by masked cluster prediction, iteration by iteration
    finetune    lip model: video to mel, units and codes
    speaker     speaker encoder (x-vector)
    vocoder     HiFi-GAN or WaveNet, as the config's kind says
    code-prior  autoregressive prior over codec codes (Gated PixelCNN)
    """
    with one_line_errors():
        from lip2speech.config import dump_yaml, load_config

        module_name, task_name, config_name = TASKS[task]
        module = import_module(module_name)
        if iteration is not None and task != "pretrain":
            raise UsageError(
                f"--iteration is an option of train pretrain, not of train {task}; leave it out."
            )
        values = load_config(getattr(module, config_name), config, overrides or ())
        if dry_run:
            typer.echo(dump_yaml(values), nl=False)
        if task == "kmeans":
            if not dry_run:
                _train_kmeans(values, out, quiet)
        elif task == "pretrain":
            _train_pretrain(values, out, iteration, dry_run, quiet)
        else:
            found = getattr(module, task_name)
            _train_task(
                found[type(values)] if isinstance(found, dict) else found, values, out, dry_run, quiet
            )


def _train_task(task_class: Any, config: Any, out: Path, dry_run: bool, quiet: bool) -> None:
    from lip2speech.train.core.device import training_device
    from lip2speech.train.core.trainer import Trainer
    from lip2speech.utils import distributed

    if dry_run:
        _dry_run(task_class, config)
        return
    device = training_device(config.trainer.device)
    with distributed.process_group(device), progress_bar(quiet=quiet or distributed.rank() > 0) as bar:
        bar.start(str(out))
        trainer = Trainer(config.trainer, out, quiet=quiet, log_fn=bar.print, progress=bar)
        trainer.fit(task_class(config))


def _train_kmeans(config: Any, out: Path, quiet: bool) -> None:
    from lip2speech.train.kmeans import fit_kmeans

    distance = fit_kmeans(config, out)
    if not quiet:
        typer.echo(f"{out}: {config.n_units} units, mean squared distance {distance:.3f}")


def _train_pretrain(config: Any, out: Path, iteration: int | None, dry_run: bool, quiet: bool) -> None:
    from lip2speech.train.core.device import training_device
    from lip2speech.train.pretrain.iterations import config_of_iteration, run_iteration, unfinished_iterations
    from lip2speech.train.pretrain.task import PretrainTask
    from lip2speech.utils import distributed

    if dry_run:
        _dry_run(PretrainTask, config_of_iteration(config, out, 1 if iteration is None else iteration))
        return
    numbers = unfinished_iterations(config, out) if iteration is None else [iteration]
    if not numbers and not quiet:
        typer.echo(f"{out}: every iteration is finished; --iteration N continues one of them.")
    device = training_device(config.trainer.device)
    with distributed.process_group(device), progress_bar(quiet=quiet or distributed.rank() > 0) as bar:
        for number in numbers:
            bar.start(str(out / str(number)))
            if not run_iteration(config, out, number, quiet=quiet, log_fn=bar.print, progress=bar):
                break


def _dry_run(task_class: Any, config: Any) -> None:
    from lip2speech.train.core.dry_run import dry_run

    for line in dry_run(task_class, config):
        typer.echo(f"# {line}")  # comments, so that the output is a valid config
