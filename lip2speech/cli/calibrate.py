"""`lip2speech calibrate`: fit a model's confidence to how often its words are right (extra `eval`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lip2speech.cli._errors import UsageError, one_line_errors
from lip2speech.cli._progress import progress_bar
from lip2speech.cli.evaluate import parse_clip_set


def calibrate(
    model: Annotated[str, typer.Argument(metavar="DIR|NAME", help="Model folder or name.")],
    fit_set: Annotated[
        list[str], typer.Option(metavar="ROOT:SPLIT", help="Prepared clips to fit on; repeatable.")
    ],
    eval_set: Annotated[
        list[str],
        typer.Option(metavar="ROOT:SPLIT", help="Clips to evaluate on; a set in both is split in half."),
    ],
    limit: Annotated[int | None, typer.Option(help="At most N clips of each set.", min=2)] = None,
    lookahead_ms: Annotated[
        int | None, typer.Option(help="Synthesize in streaming with this look-ahead.", min=0)
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a reliability diagram, FILE.svg.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print only; do not change the model.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file of --plot.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Fit the confidence of a model to the accuracy of its words, and store it in the model's config.

    Words are recognized by the offline ASR in speech synthesized with the default voice and vocoder, from
    each clip both clean and degraded.
    """
    with one_line_errors():
        if plot is not None and plot.suffix.lower() != ".svg":
            raise UsageError(f"--plot {plot}: only SVG is supported; give a name that ends in .svg.")
        if plot is not None and plot.exists() and not overwrite:
            raise UsageError(f"{plot}: already exists; pass --overwrite to replace it.")
        fit_sets, eval_sets = ([parse_clip_set(name) for name in names] for names in (fit_set, eval_set))
        with progress_bar(quiet=quiet) as progress:
            progress.start("loading the model")
            from lip2speech.evaluation.calibration.calibrate import CalibrationConfig
            from lip2speech.evaluation.calibration.calibrate import calibrate as run
            from lip2speech.pretrained import resolve_model_path

            folder = resolve_model_path(model)
            progress.start(f"{folder}")
            report = run(
                folder,
                CalibrationConfig(fit_sets, eval_sets, limit, lookahead_ms),
                device=device,
                write=not dry_run,
                progress=lambda done, total: progress(done / total),
            )
        typer.echo(report.to_markdown())
        if plot is not None:
            report.save_plot(plot)
