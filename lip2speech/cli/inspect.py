"""`lip2speech inspect`: what the preprocessing saw in a video, as text, JSON or a sheet of sampled frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lip2speech.cli import _errors as errors
from lip2speech.cli._progress import progress_bar


def inspect(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video file.")],
    sheet: Annotated[Path | None, typer.Option(help="A PNG of sampled frames, crops and points.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line on stdout.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the sheet if it exists.")] = False,
) -> None:
    """Show what the preprocessing sees in a video: frames, face, gaps, cuts, what makes lips hard to read.

    Exit codes as for convert: 3 an unreadable file, 4 no face.
    """
    with errors.one_line_errors():
        if sheet is not None:
            _check_sheet(sheet, video, overwrite)
        with progress_bar(quiet=False) as progress:
            progress.start(video.name)
            from lip2speech.video.diagnostics import describe, inspect_video

            seen = inspect_video(video, sheet)
        typer.echo(json.dumps(seen) if as_json else describe(seen))
        if "error" in seen:
            raise typer.Exit(errors.NO_FACE)


def _check_sheet(sheet: Path, video: Path, overwrite: bool) -> None:
    if sheet.suffix.lower() != ".png":
        raise errors.UsageError(f"--sheet {sheet}: a sheet is a PNG; give a name that ends in .png.")
    if sheet.resolve() == video.resolve():
        raise errors.UsageError(f"--sheet {sheet}: is the video itself.")
    if sheet.exists() and not (overwrite and sheet.is_file()):
        raise errors.UsageError(f"--sheet {sheet}: already exists; pass --overwrite to replace it.")
    if not sheet.absolute().parent.is_dir():
        raise errors.UsageError(f"--sheet {sheet}: its folder does not exist.")
