"""A progress bar on stderr, or nothing when nobody looks: --quiet, or stderr is not a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from lip2speech.cli._errors import one_line


class Progress:
    """One line that shows what is worked on, how much of it is done, and the time left."""

    def __init__(self, bar: Any | None) -> None:
        self._bar = bar
        self._task: Any = None

    def start(self, name: str) -> None:
        """Begin a new line for `name`, with no fraction known yet."""
        if self._bar is None:
            return
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(one_line(name), total=None)

    def __call__(self, fraction: float) -> None:
        """Show that `fraction` (0 to 1) of the present work is done."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=fraction, total=1.0)

    def print(self, line: str) -> None:
        """A line on stdout; when both go to one terminal it appears above the bar."""
        if self._bar is not None and sys.stdout.isatty():
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            typer.echo(line)


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Progress]:
    """A live bar that leaves no trace when it closes; lines printed meanwhile appear above it."""
    if quiet or not sys.stderr.isatty():
        yield Progress(None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    name = TextColumn("{task.description}", markup=False)
    columns = (SpinnerColumn(), name, BarColumn(), TaskProgressColumn(), TimeRemainingColumn(compact=True))
    with Bar(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as bar:
        yield Progress(bar)
