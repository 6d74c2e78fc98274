"""`lip2speech model export` and `model average`: trained checkpoints -> a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lip2speech.cli._errors import one_line_errors

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing folder.")]


def export(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.yaml", help="A file in configs/export/, or your own.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="The model folder to write.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=VALUE]...", help="Overrides of the config: vocoder=FOLDER"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the full config and exit.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Combine a lip model, codec, voices and optional parts into one model folder (float16)."""
    with one_line_errors():
        from lip2speech.config import dump_yaml, load_config
        from lip2speech.train.export import ExportConfig, export_model

        values = load_config(ExportConfig, config, overrides or ())
        if dry_run:
            typer.echo(dump_yaml(values), nl=False)
            return
        size = export_model(values, out, overwrite=overwrite)
        typer.echo(f"{out}: {size / 2**20:.1f} MiB of weights")


def average(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Checkpoints of one model.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The checkpoint folder to write.")],
    overwrite: Overwrite = False,
) -> None:
    """Average the weights of checkpoints that were trained from the same initialization (model soup)."""
    with one_line_errors():
        from lip2speech.train.checkpoint_averaging import average_checkpoints

        count = average_checkpoints(folders, out, overwrite=overwrite)
        typer.echo(f"{out}: mean of {len(folders)} checkpoints, {count} tensors")
