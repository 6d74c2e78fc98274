"""`lip2speech model`: bundled models, verification, model cards, downloads and imports."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lip2speech.cli._errors import one_line, one_line_errors
from lip2speech.cli.export_model import average, export
from lip2speech.cli.import_model import import_model

model = typer.Typer(
    help="Models: list, info, verify, download, import, export, average.", no_args_is_help=True
)
model.command("import")(import_model)
model.command()(export)
model.command()(average)

Name = Annotated[
    str, typer.Argument(metavar="DIR|NAME", help="A model folder, or the name of a bundled one.")
]


@model.command("list")
def list_models() -> None:
    """List the bundled models."""
    with one_line_errors():
        from lip2speech.pretrained import bundled_models

        for name in bundled_models():
            typer.echo(name)


@model.command()
def verify(name: Name = "default") -> None:
    """Compare every file of a model with its checksum."""
    with one_line_errors():
        from lip2speech import checkpoint
        from lip2speech.pretrained import resolve_model_path

        folder = resolve_model_path(name)
        checkpoint.verify(folder)
        typer.echo(f"{one_line(folder)}: ok")


@model.command()
def info(name: Name = "default") -> None:
    """Print a model's card: training data, intended use and limitations."""
    with one_line_errors():
        from lip2speech import checkpoint
        from lip2speech.pretrained import resolve_model_path

        folder = resolve_model_path(name)
        checkpoint.verify(folder)
        typer.echo(printable_text((folder / checkpoint.MODEL_CARD).read_text(encoding="utf-8")))


@model.command()
def download(
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="A repository on the Hugging Face Hub.")],
    out: Annotated[
        Path | None, typer.Argument(metavar="[OUT]", help="The folder to write; default: NAME.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="A commit, which pins the model, or a tag or branch.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a checkpoint folder.")] = False,
) -> None:
    """Download a model folder from the Hub and verify its checksums (extra `hub`)."""
    with one_line_errors():
        from lip2speech.pretrained.download import download_model

        out = Path(repo.rpartition("/")[2]) if out is None else out
        commit = download_model(repo, out, revision=revision, overwrite=overwrite)
        typer.echo(f"{one_line(out)}: ok, {repo} at --revision {commit}")


def printable_text(text: str) -> str:
    """The lines of a text with terminal escapes and other unprintable characters escaped."""
    return "\n".join(
        "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
        for line in text.expandtabs().splitlines()
    )
