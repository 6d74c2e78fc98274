"""`lip2speech calibrate`: a model learns how often it is right when it feels sure (extra `eval`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lip2speech.cli._errors import UsageError, one_line_errors
from lip2speech.cli._progress import progress_bar

Set = tuple[Path, str]


def calibrate(
    model: Annotated[str, typer.Argument(metavar="DIR|NAME", help="A model folder, or a shipped one.")],
    fit: Annotated[
        list[str], typer.Option(metavar="ROOT:SPLIT", help="Prepared clips to fit on; may be given often.")
    ],
    report: Annotated[
        list[str],
        typer.Option(metavar="ROOT:SPLIT", help="Clips to report on; what is in both is shared out."),
    ],
    limit: Annotated[int | None, typer.Option(help="At most so many clips of each set.", min=2)] = None,
    live: Annotated[
        int | None, typer.Option(metavar="MS", help="Speak as a stream that looks so far ahead.", min=0)
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="A reliability plot, FILE.svg.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print, and leave the model as it is.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file of --plot.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Fit how sure a model is to how often its words are right, and write it into the model's folder.

    The words are heard by the offline recogniser in what the model speaks with its own voice and route, from
    each clip as it is and from a worse picture of it.
    """
    with one_line_errors():
        if plot is not None and plot.suffix.lower() != ".svg":
            raise UsageError(f"--plot {plot}: is written as SVG; give a name that ends in .svg.")
        if plot is not None and plot.exists() and not overwrite:
            raise UsageError(f"{plot}: already exists; pass --overwrite to replace it.")
        fit_sets, report_sets = ([parse_set(name) for name in names] for names in (fit, report))
        with progress_bar(quiet=quiet) as progress:
            progress.start("loading the model")
            from lip2speech.evaluation.calibration import calibrate as run
            from lip2speech.pretrained import folder_of

            folder = folder_of(model)
            progress.start(f"{folder}")
            done = run(
                folder, fit_sets, report_sets, limit=limit, live=live, device=device, write=not dry_run,
                progress=lambda share, total: progress(share / total),
            )  # fmt: skip
        typer.echo(done.text())
        if plot is not None:
            done.save_plot(plot)


def parse_set(name: str) -> Set:
    """ROOT:SPLIT -> the folder and the split."""
    root, colon, split = name.rpartition(":")
    if not (root and colon and split):
        raise UsageError(f"{name}: expected a folder of prepared clips and a split, as in data/grid:valid.")
    return Path(root), split
