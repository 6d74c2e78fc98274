"""`python -m preprocess CORPUS --root R --out O`: prepare a corpus, or a shard of it, for training."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lip2speech.cli._errors import OK, SOME_FAILED, UsageError, one_line_errors

if TYPE_CHECKING:
    from preprocess.job import PreprocessJob

NONE_READY = 4


class Corpus(StrEnum):
    """Layout of the corpus folder."""

    folder = "folder"
    grid = "grid"
    lrs3 = "lrs3"
    synth = "synth"
    voxceleb2 = "voxceleb2"


class Format(StrEnum):
    """How prepared clips are stored."""

    files = "files"
    webdataset = "webdataset"


class Executor(StrEnum):
    """Where shards are processed."""

    local = "local"
    slurm = "slurm"
    ray = "ray"


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def preprocess(
    corpus: Annotated[Corpus, typer.Argument(help="Layout of ROOT.")],
    root: Annotated[Path, typer.Option(help="The corpus as published.")],
    out: Annotated[Path, typer.Option(help="The prepared folder; may exist already.")],
    filelist: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Use only these videos: paths below ROOT, one per line."),
    ] = None,
    output_format: Annotated[
        Format, typer.Option("--format", help="One file per clip, or WebDataset tar shards.")
    ] = Format.files,
    mel: Annotated[bool, typer.Option("--mel", help="Store log-mel spectrograms.")] = False,
    units: Annotated[str, typer.Option(metavar="FOLDER", help="Store units of this unit tokenizer.")] = "",
    codec: Annotated[str, typer.Option(metavar="FOLDER", help="Store codes of this codec.")] = "",
    speaker_encoder: Annotated[
        str, typer.Option(metavar="FOLDER", help="Store embeddings of this speaker encoder, or of: ltas.")
    ] = "",
    workers: Annotated[
        int, typer.Option(help="Processes, one per core (0: this process, without --timeout).", min=0)
    ] = 2,
    timeout: Annotated[float, typer.Option(metavar="S", help="Time limit per clip, seconds.")] = 600.0,
    num_shards: Annotated[int, typer.Option(metavar="N", help="Number of shards of the corpus.", min=1)] = 1,
    shard_index: Annotated[
        int | None, typer.Option(metavar="K", help="Process shard K only, from 0.", min=0)
    ] = None,
    executor: Annotated[Executor, typer.Option(help="Where shards are processed.")] = Executor.local,
    executor_option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Option of submitit, or of ray.init; repeatable."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Prepare finished clips again.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, only the summary.")] = False,
) -> None:
    """Crop mouths, cut audio to the same length and store both with precomputed targets.

    Rerun the same command to resume. Exit codes: 0 all clips are ready or unusable, 2 usage, 3 some failed,
    4 none is ready, 5 a bad checkpoint, 130 interrupted.
    """
    with one_line_errors():
        if timeout <= 0:
            raise UsageError(f"--timeout must be above 0, got {timeout:g}.")
        if not root.is_dir():
            raise UsageError(f"--root {root}: no such folder; give the folder of the corpus.")
        if filelist is not None and not filelist.is_file():
            raise UsageError(f"--filelist {filelist}: no such file; give a text file with one path per line.")
        from preprocess.job import PreprocessJob
        from preprocess.targets_config import TargetsConfig

        job = PreprocessJob(
            corpus.value,
            root,
            out,
            targets=TargetsConfig(mel, units, codec, speaker_encoder),
            filelist=filelist,
            format=output_format.value,
            workers=workers,
            timeout_s=timeout,
            overwrite=overwrite,
            num_shards=num_shards,
        )
        code = _run(job, _shards(shard_index, num_shards), executor.value, executor_option or [], quiet)
    raise typer.Exit(code)


def _shards(index: int | None, count: int) -> list[int]:
    """The shards to process: the given one, or all."""
    if index is not None and index >= count:
        raise UsageError(f"--shard-index must be below --num-shards, got {index} and {count}.")
    return list(range(count)) if index is None else [index]


def _run(job: PreprocessJob, shards: list[int], executor: str, options: list[str], quiet: bool) -> int:
    """Process the shards with a progress report; the exit code."""
    from preprocess.executors import EXECUTORS, parse_options
    from preprocess.report import report_rows
    from preprocess.targets_config import target_fingerprints

    runner = EXECUTORS[executor](parse_options(options))
    target_fingerprints(job.targets)  # fails on a bad checkpoint before any work starts
    total = sum(1 for _ in job.clips(shards))
    counts = report_rows(runner.run(job, shards), total, quiet=quiet)
    if not counts["done"] + counts["kept"]:
        return NONE_READY
    return SOME_FAILED if counts["failed"] else OK


if __name__ == "__main__":
    app(prog_name="python -m preprocess")
