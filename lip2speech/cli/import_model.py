"""`lip2speech model import`: convert a foreign checkpoint into a checkpoint folder of ours."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from lip2speech.cli._errors import UsageError, one_line, one_line_errors

if TYPE_CHECKING:
    from lip2speech.importers import Imported

COMMON = ("source", "out", "overwrite", "fp16")  # arguments and options of the command itself
MAX_DROPPED = 8  # names of dropped weights that are printed


def import_model(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="Type of checkpoint: avhubert, encodec, ...")],
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="The foreign file or folder.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write.")],
    options: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="Options of the kind, e.g. heads=12")
    ] = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Store float16, half the size.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a checkpoint folder.")] = False,
) -> None:
    """Convert a published checkpoint into a checkpoint folder. The file is read as data, never executed."""
    with one_line_errors():
        from lip2speech.importers import IMPORTERS

        if kind not in IMPORTERS:
            raise UsageError(f"no importer is called {kind!r}; known: {', '.join(IMPORTERS)}.")
        importer = IMPORTERS[kind]
        values = parse_options(kind, importer, options or [])
        imported = importer(source, out, overwrite=overwrite, fp16=fp16, **values)
        for line in describe(out, imported):
            typer.echo(line)


def parse_options(kind: str, importer: Callable[..., Any], options: list[str]) -> dict[str, Any]:
    """NAME=VALUE options as the importer's keywords, converted by their annotations."""
    hints = get_type_hints(importer)
    known = [name for name in inspect.signature(importer).parameters if name not in COMMON]
    values: dict[str, Any] = {}
    for option in options:
        name, equals, text = option.partition("=")
        if not equals or name not in known or name in values:
            takes = f"takes {', '.join(f'{n}=...' for n in known)}" if known else "takes no options"
            raise UsageError(f"{option}: kind {kind} {takes}, each at most once.")
        values[name] = _convert(option, text, hints[name])
    return values


def _convert(option: str, text: str, hint: Any) -> Any:
    """The text as the first of int, float, Path, str that the annotation allows."""
    for type_ in (int, float, Path):
        if type_ is hint or type_ in getattr(hint, "__args__", ()):
            try:
                return type_(text)
            except ValueError:
                raise UsageError(f"{option}: expected a value of type {type_.__name__}.") from None
    return text


def describe(out: Path, imported: Imported) -> list[str]:
    """What was written, and what was renamed or dropped."""
    n_values = sum(tensor.numel() for tensor in imported.tensors.values())
    size = f"{len(imported.tensors)} tensors, {n_values / 1e6:.1f} M parameters"
    lines = [
        f"{one_line(out)}: {imported.config['kind']}, {size}",
        f"licence: {one_line(imported.config.get('licence', 'unknown; ask where the file was published'))}",
        *map(one_line, imported.notes),
    ]
    if dropped := imported.dropped:
        names = ", ".join(map(one_line, dropped[:MAX_DROPPED]))
        more = f" and {len(dropped) - MAX_DROPPED} more" if len(dropped) > MAX_DROPPED else ""
        lines.append(f"dropped weights ({len(dropped)}): {names}{more}; all are listed in README.md")
    return lines
