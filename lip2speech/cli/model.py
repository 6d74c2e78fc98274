"""`lip2speech model`: which models ship, whether a folder is whole, its card; models from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lip2speech.cli._errors import one_line, one_line_errors
from lip2speech.cli.export_model import average, export
from lip2speech.cli.import_model import import_model

model = typer.Typer(help="Models: list, verify, card, import, pull.", no_args_is_help=True)
model.command("import")(import_model)
model.command()(export)
model.command()(average)

Name = Annotated[
    str, typer.Argument(metavar="DIR|NAME", help="A model folder, or the name of a shipped one.")
]


@model.command("list")
def list_models() -> None:
    """The names of the models that ship."""
    with one_line_errors():
        from lip2speech.pretrained import shipped

        for name in shipped():
            typer.echo(name)


@model.command()
def verify(name: Name = "default") -> None:
    """Compare every file of a model with its checksum."""
    with one_line_errors():
        from lip2speech.checkpoint import verify as compare
        from lip2speech.pretrained import folder_of

        folder = folder_of(name)
        compare(folder)
        typer.echo(f"{folder}: whole")


@model.command()
def card(name: Name = "default") -> None:
    """What a model was trained on, and what it cannot do."""
    with one_line_errors():
        from lip2speech.checkpoint import CARD
        from lip2speech.checkpoint import verify as compare
        from lip2speech.pretrained import folder_of

        folder = folder_of(name)
        compare(folder)
        typer.echo((folder / CARD).read_text(encoding="utf-8"), nl=False)


@model.command()
def pull(
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="A repository on the Hugging Face Hub.")],
    out: Annotated[
        Path | None, typer.Argument(metavar="[OUT]", help="The folder to write; default: NAME.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="A commit, which pins the model; or a tag or branch.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a checkpoint folder.")] = False,
) -> None:
    """Fetch a model folder from the Hub and check its sums (extra `hub`)."""
    with one_line_errors():
        from lip2speech.hub import pull as fetch

        out = Path(repo.rpartition("/")[2]) if out is None else out
        commit = fetch(repo, out, revision=revision, overwrite=overwrite)
        typer.echo(f"{one_line(out)}: whole, {repo} at --revision {commit}")
