"""`lip2speech inspect`: diagnostics of a video as text, JSON or a contact sheet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lip2speech.cli import _errors as errors
from lip2speech.cli._progress import progress_bar


def inspect(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video file.")],
    sheet: Annotated[
        Path | None, typer.Option(help="Write a PNG of sampled frames, landmarks and crops.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line on stdout.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing sheet.")] = False,
) -> None:
    """Check a video: frame rate, face detection, no-face segments, cuts, and what makes lips hard to read.

    Exit codes as for convert: 3 for an unreadable file, 4 for no face.
    """
    with errors.one_line_errors():
        if sheet is not None:
            _check_sheet(sheet, video, overwrite)
        with progress_bar(quiet=False) as progress:
            progress.start(video.name)
            from lip2speech.video.diagnostics import format_diagnostics, inspect_video

            result = inspect_video(video, sheet)
        typer.echo(json.dumps(result) if as_json else format_diagnostics(result))
        if "error" in result:
            raise typer.Exit(errors.NO_FACE)


def _check_sheet(sheet: Path, video: Path, overwrite: bool) -> None:
    if sheet.suffix.lower() != ".png":
        raise errors.UsageError(f"--sheet {sheet}: expected a PNG; use a name that ends in .png.")
    if sheet.resolve() == video.resolve():
        raise errors.UsageError(f"--sheet {sheet}: this is the video itself; use another name.")
    if sheet.exists() and not (overwrite and sheet.is_file()):
        raise errors.UsageError(f"--sheet {sheet}: already exists; pass --overwrite to replace it.")
    if not sheet.absolute().parent.is_dir():
        raise errors.UsageError(f"--sheet {sheet}: its folder does not exist; create it first.")
