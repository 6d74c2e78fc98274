"""The `lip2speech` command: one sub-command, one file, one call into the package.

Nothing heavy is imported before a sub-command runs, so that `lip2speech --help` answers at once.
"""

from __future__ import annotations

import signal
from typing import NoReturn

import typer

from lip2speech.cli.adapt import adapt
from lip2speech.cli.calibrate import calibrate
from lip2speech.cli.codec import codec
from lip2speech.cli.convert import convert
from lip2speech.cli.demo import demo
from lip2speech.cli.evaluate import evaluate
from lip2speech.cli.inspect import inspect
from lip2speech.cli.model import model
from lip2speech.cli.stream import stream
from lip2speech.cli.synth import synth
from lip2speech.cli.train import train
from lip2speech.cli.voice import voice
from lip2speech.version import __version__

__all__ = ["app", "main"]

app = typer.Typer(
    name="lip2speech",
    help="Speech from silent video of a talking face.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(convert)
app.command()(stream)
app.command()(inspect)
app.command()(synth)
app.command()(demo)
app.command()(calibrate)
app.add_typer(evaluate, name="evaluate")
app.command()(train)
app.add_typer(model, name="model")
app.add_typer(codec, name="codec")
app.add_typer(voice, name="voice")
app.add_typer(adapt, name="adapt")


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version and leave.")) -> None:
    if version:
        typer.echo(f"lip2speech {__version__}")
        raise typer.Exit


def main() -> None:
    """The entry point of the installed `lip2speech` script."""
    signal.signal(signal.SIGTERM, _leave)
    app()


def _leave(number: int, _: object) -> NoReturn:
    """End as on any error, so that temporary files go; 128 + signal is what a shell would report."""
    raise SystemExit(128 + number)
