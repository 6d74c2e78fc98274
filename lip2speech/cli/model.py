"""`lip2speech model`: which models ship, whether a folder is whole, its card; models from elsewhere."""

from __future__ import annotations

from typing import Annotated

import typer

from lip2speech.cli.errors import one_line_errors
from lip2speech.cli.imports import import_model

model = typer.Typer(help="Models: list, verify, card, import, pull.", no_args_is_help=True)
model.command("import")(import_model)

Name = Annotated[
    str, typer.Argument(metavar="DIR|NAME", help="A model folder, or the name of a shipped one.")
]


@model.command("list")
def list_models() -> None:
    """The names of the models that ship."""
    with one_line_errors():
        from lip2speech.shipped import shipped

        for name in shipped():
            typer.echo(name)


@model.command()
def verify(name: Name = "default") -> None:
    """Compare every file of a model with its checksum."""
    with one_line_errors():
        from lip2speech.checkpoint import verify as compare
        from lip2speech.shipped import folder_of

        folder = folder_of(name)
        compare(folder)
        typer.echo(f"{folder}: whole")


@model.command()
def card(name: Name = "default") -> None:
    """What a model was trained on, and what it cannot do."""
    with one_line_errors():
        from lip2speech.checkpoint import CARD
        from lip2speech.checkpoint import verify as compare
        from lip2speech.shipped import folder_of

        folder = folder_of(name)
        compare(folder)
        typer.echo((folder / CARD).read_text(encoding="utf-8"), nl=False)
