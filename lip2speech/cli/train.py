"""`lip2speech train`: a recipe and a folder in, a checkpoint folder out; the same command again goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lip2speech.cli._errors import one_line_errors
from lip2speech.cli._progress import progress_bar

train = typer.Typer(
    help="Train from a recipe in configs/; the same command again goes on.", no_args_is_help=True
)

Recipe = Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="A file of configs/, or one like it.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME=VALUE]...", help="Changes to the recipe: trainer.steps=100"),
]
Out = Annotated[Path, typer.Option("-o", "--out", help="The run's folder: snapshots, log, and final/.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the recipe whole, try it on made-up data, and leave.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Write the log file only.")]


@train.command()
def codec(
    recipe: Recipe, out: Out, overrides: Overrides = None, dry_run: DryRun = False, quiet: Quiet = False
) -> None:
    """The codec whose decoder speaks: reconstruction, then a GAN."""
    with one_line_errors():
        from lip2speech.train.codec.task import CodecTask, CodecTrainConfig

        _run(CodecTask, _read(CodecTrainConfig, recipe, overrides), out, dry_run, quiet)


@train.command()
def pretrain(
    recipe: Recipe,
    out: Out,
    overrides: Overrides = None,
    iteration: Annotated[
        int | None, typer.Option("--iteration", help="This one alone, from 1 on; all in turn without it.")
    ] = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """An AV-HuBERT from lips and sound alone: clusters of masked frames, iteration by iteration."""
    with one_line_errors():
        from lip2speech import distributed
        from lip2speech.train.core.device import choose_device
        from lip2speech.train.pretrain.iterations import at_iteration, run_iteration, unfinished
        from lip2speech.train.pretrain.task import PretrainConfig, PretrainTask

        config = _read(PretrainConfig, recipe, overrides)
        if _shown(config, dry_run):
            _dry_run(PretrainTask, at_iteration(config, out, 1 if iteration is None else iteration))
            return
        numbers = unfinished(config, out) if iteration is None else [iteration]
        if not numbers and not quiet:
            typer.echo(f"{out}: every iteration is finished; --iteration N goes on with one.")
        device = choose_device(config.trainer.device)
        with distributed.process_group(device), progress_bar(quiet=quiet or distributed.rank() > 0) as bar:
            for number in numbers:
                bar.start(str(out / str(number)))
                if not run_iteration(config, out, number, quiet=quiet, log_fn=bar.print, progress=bar):
                    break


@train.command()
def finetune(
    recipe: Recipe, out: Out, overrides: Overrides = None, dry_run: DryRun = False, quiet: Quiet = False
) -> None:
    """Lips to mel, units and codes at once."""
    with one_line_errors():
        from lip2speech.train.finetune.task import FinetuneConfig, FinetuneTask

        _run(FinetuneTask, _read(FinetuneConfig, recipe, overrides), out, dry_run, quiet)


@train.command()
def kmeans(
    recipe: Recipe, out: Out, overrides: Overrides = None, dry_run: DryRun = False, quiet: Quiet = False
) -> None:
    """The units: k-means on features of a corpus' sound."""
    with one_line_errors():
        from lip2speech.train.kmeans import KMeansConfig, fit_kmeans

        config = _read(KMeansConfig, recipe, overrides)
        if _shown(config, dry_run):
            return
        distance = fit_kmeans(config, out)
        if not quiet:
            typer.echo(f"{out}: {config.n_units} units, mean squared distance {distance:.3f}")


@train.command()
def speaker(
    recipe: Recipe, out: Out, overrides: Overrides = None, dry_run: DryRun = False, quiet: Quiet = False
) -> None:
    """The speaker encoder, which tells whose voice a sound is like."""
    with one_line_errors():
        from lip2speech.train.speaker.task import SpeakerTask, SpeakerTrainConfig

        _run(SpeakerTask, _read(SpeakerTrainConfig, recipe, overrides), out, dry_run, quiet)


@train.command()
def vocoder(
    recipe: Recipe, out: Out, overrides: Overrides = None, dry_run: DryRun = False, quiet: Quiet = False
) -> None:
    """What makes sound of a predicted mel: a HiFi-GAN or a WaveNet, as the recipe's kind says."""
    with one_line_errors():
        from lip2speech.train.vocoder import TASKS, VocoderTrainConfig

        config = _read(VocoderTrainConfig, recipe, overrides)
        _run(TASKS[type(config)], config, out, dry_run, quiet)


@train.command()
def likelihood(
    recipe: Recipe, out: Out, overrides: Overrides = None, dry_run: DryRun = False, quiet: Quiet = False
) -> None:
    """How likely codes are as speech."""
    with one_line_errors():
        from lip2speech.train.code_prior.task import CodePriorTask, CodePriorTrainConfig

        _run(CodePriorTask, _read(CodePriorTrainConfig, recipe, overrides), out, dry_run, quiet)


@train.command()
def assemble(
    recipe: Recipe,
    out: Annotated[Path, typer.Option("-o", "--out", help="The model folder to write.")],
    overrides: Overrides = None,
    dry_run: DryRun = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model folder.")] = False,
) -> None:
    """Lip model, codec, voices and a vocoder into one model folder that `convert` takes."""
    with one_line_errors():
        from lip2speech.train.export import AssembleConfig
        from lip2speech.train.export import assemble as write

        config = _read(AssembleConfig, recipe, overrides)
        if not _shown(config, dry_run):
            size = write(config, out, overwrite=overwrite)
            typer.echo(f"{out}: {size / 2**20:.1f} MiB of weights")


@train.command()
def average(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Trainings of one model.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The checkpoint folder to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a checkpoint folder.")] = False,
) -> None:
    """The mean of the weights of several trainings that began at one start."""
    with one_line_errors():
        from lip2speech.train.checkpoint_averaging import average as write

        count = write(folders, out, overwrite=overwrite)
        typer.echo(f"{out}: the mean of {len(folders)} folders, {count} tensors")


def _read(kind: Any, recipe: Path, overrides: list[str] | None) -> Any:
    from lip2speech.config import load_config

    return load_config(kind, recipe, overrides or ())


def _shown(config: Any, dry_run: bool) -> bool:
    from lip2speech.config import dump_yaml

    if dry_run:
        typer.echo(dump_yaml(config), nl=False)
    return dry_run


def _run(task: Any, config: Any, out: Path, dry_run: bool, quiet: bool) -> None:
    from lip2speech import distributed
    from lip2speech.train.core.device import choose_device
    from lip2speech.train.core.trainer import Trainer

    if _shown(config, dry_run):
        _dry_run(task, config)
        return
    device = choose_device(config.trainer.device)
    with distributed.process_group(device), progress_bar(quiet=quiet or distributed.rank() > 0) as bar:
        bar.start(str(out))
        Trainer(config.trainer, out, quiet=quiet, log_fn=bar.print, progress=bar).fit(task(config))


def _dry_run(task: Any, config: Any) -> None:
    from lip2speech.train.core.dry_run import dry_run

    for line in dry_run(task, config):
        typer.echo(f"# {line}")  # so that the whole is still a recipe
