"""`lip2speech evaluate`: the table of all routes of a model on clips with sound and text (extra `eval`)."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lip2speech.cli.errors import UsageError, one_line_errors
from lip2speech.cli.progress import progress_bar

if TYPE_CHECKING:
    from lip2speech.evaluation.clips import Item


class Corpus(StrEnum):
    """How the folder is laid out; all but `prepared` take the whole path from each video file."""

    prepared = "prepared"
    talker = "talker"
    grid = "grid"


def evaluate(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="A folder of prepared clips, or a corpus.")],
    corpus: Annotated[Corpus, typer.Option(help="How ROOT is laid out.")] = Corpus.prepared,
    split: Annotated[str, typer.Option(help="Which clips speak; the others may lend voices.")] = "test",
    model: Annotated[str, typer.Option(help="A model folder, or the name of a shipped one.")] = "default",
    route: Annotated[list[str] | None, typer.Option(help="May be given often; all when left out.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many clips, evenly spread.", min=1)] = None,
    measure: Annotated[str, typer.Option(help="Which measures.")] = "wer,stoi,estoi,pesq,mel",
    workers: Annotated[int, typer.Option(help="Processes that measure beside this one.", min=0)] = 0,
    live: Annotated[
        list[int] | None,
        typer.Option(help="Also as a stream that looks so many ms ahead; may be given often."),
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Every clip's figures as JSON.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file of --save.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Print word error rate, STOI, ESTOI and PESQ of every route, with ceilings and floors."""
    with one_line_errors():
        if save is not None and save.exists() and not overwrite:
            raise UsageError(f"{save}: already exists; pass --overwrite to replace it.")
        with progress_bar(quiet=quiet) as progress:
            progress.start("loading the model")
            from lip2speech.evaluation.report import evaluate as report_on
            from lip2speech.pipeline import Lip2Speech

            speech = Lip2Speech.load(model, device=device)
            items = _items(root, corpus, split)
            progress.start(f"{root}, {split}")
            report = report_on(
                speech,
                items,
                split,
                routes=route,
                limit=limit,
                measure=measure.split(","),
                workers=workers,
                live=live or (),
                progress=lambda done, total: progress(done / total),
            )
        typer.echo(report.table())
        if save is not None:
            report.save(save)


def _items(root: Path, corpus: Corpus, split: str) -> list[Item]:
    from lip2speech.evaluation.clips import prepared_items, video_items

    if corpus is Corpus.prepared:
        return prepared_items(root, split)
    from lip2speech.data import grid, talker

    return video_items((grid if corpus is Corpus.grid else talker).utterances(root))
