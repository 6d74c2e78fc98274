"""What every importer returns, and the checks and texts that importers share.

Independent of any model: names and shapes are compared with those of the module that will take the weights.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lip2speech.importers.foreign_file import ForeignFileError, printable

MAX_LISTED_NAMES = 5  # listed in an error
MAX_SUGGESTIONS = 3  # names for which an error suggests the closest expected one
MAX_COMPARED = 200  # characters of a name that difflib compares; its time is their product
MAX_EXPANSION = 4  # of the file's size: float16 becomes float32, and some models use a weight twice
WRAPPER = "state_dict"
PARALLEL_PREFIX = "module."

RenamedWeights = dict[str, tuple[str, Tensor]]
"""Our name -> the name in the file, the weight."""


@dataclass(frozen=True)
class Imported:
    """The result of an import.

    Attributes:
        config: the folder's config.yaml.
        tensors: the weights under our names.
        dropped: foreign names of weights that we have no use for.
        notes: what else was done to the file's names, one line each.
    """

    config: dict[str, Any]
    tensors: dict[str, Tensor]
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def unwrap(contents: Any, key: str = "") -> tuple[Any, tuple[str, ...]]:
    """The named weights inside a checkpoint's wrappers, and a note for each unexpected one.

    Args:
        contents: the saved object.
        key: where this format keeps its weights; no note is made of it.
    """
    notes: list[str] = []
    if isinstance(contents, Mapping) and key in contents:
        contents = contents[key]
    if isinstance(contents, Mapping) and isinstance(contents.get(WRAPPER), Mapping):
        contents = contents[WRAPPER]
        notes.append(f"weights taken from {{{WRAPPER!r}: ...}}")
    names = list(contents) if isinstance(contents, Mapping) else []
    if names and all(isinstance(name, str) and name.startswith(PARALLEL_PREFIX) for name in names):
        contents = {name.removeprefix(PARALLEL_PREFIX): value for name, value in contents.items()}
        notes.append(f"prefix {PARALLEL_PREFIX!r} removed from {len(names)} names")
    return contents, tuple(notes)


def check_expansion(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse a small file whose views of one storage would be terabytes when each is stored by itself."""
    n_bytes = sum(4 * tensor.numel() for tensor in tensors.values())
    size = path.stat().st_size
    if n_bytes > MAX_EXPANSION * size:
        raise ForeignFileError(
            f"{path}: its {len(tensors)} tensors claim {n_bytes} bytes, the file has {size}; it is refused."
        )


def match(
    found: RenamedWeights,
    expected: Mapping[str, Tensor],
    path: Path,
    model_name: str,
    foreign: Callable[[str], str] = str,
) -> dict[str, Tensor]:
    """The weights in the dtypes of `expected` (may be on `meta`), after checking names, shapes and values.

    Args:
        found: the weights of the file.
        expected: the state dict of our module.
        path: the file, for errors.
        model_name: the model that it should hold, for errors.
        foreign: our name -> the name in the file, for the error about a missing weight.
    """
    if missing := [name for name in expected if name not in found]:
        names = format_names([foreign(name) for name in missing])
        raise ForeignFileError(f"{path}: {names} missing; the file is incomplete.")
    if extra := [theirs for name, (theirs, _) in found.items() if name not in expected]:
        raise ForeignFileError(
            f"{path}: {format_names(extra)} not part of this {model_name}; is it another model's file? "
            f"({closest_names(extra, [foreign(name) for name in expected])})"
        )
    return {name: _checked(*found[name], expected[name], path) for name in found}


def _checked(foreign: str, tensor: Tensor, expected: Tensor, path: Path) -> Tensor:
    if tensor.shape != expected.shape:
        shapes = f"{tuple(tensor.shape)}, expected {tuple(expected.shape)}"
        raise ForeignFileError(f"{path}: {foreign}: has shape {shapes}.")
    if tensor.is_floating_point() != expected.is_floating_point():
        raise ForeignFileError(f"{path}: {foreign}: has {tensor.dtype}, expected {expected.dtype}.")
    if not torch.isfinite(tensor).all():
        raise ForeignFileError(f"{path}: {foreign}: has NaN or infinite values; download the file again.")
    return tensor.to(expected.dtype).contiguous()


def closest_names(names: list[str], expected: Iterable[str]) -> str:
    """The closest expected name for each of the first names, for the error about them."""
    known = list(expected)
    pairs = []
    for name in names[:MAX_SUGGESTIONS]:
        best = difflib.get_close_matches(name[:MAX_COMPARED], known, n=1, cutoff=0.0)
        pairs += [f"{printable(best[0])} for {printable(name)}"] if best else []
    return f"closest expected: {', '.join(pairs) or 'none'}"


def format_names(names: list[str]) -> str:
    """The first names and the number of the others, with the verb that follows."""
    first = ", ".join(printable(name) for name in names[:MAX_LISTED_NAMES])
    more = f" and {len(names) - MAX_LISTED_NAMES} more" if len(names) > MAX_LISTED_NAMES else ""
    return f"{first}{more} {'is' if len(names) == 1 else 'are'}"


def model_card(title: str, origin: str, facts: Sequence[str], dropped: Sequence[str] = ()) -> str:
    """The README of an imported folder: title, origin, facts as a list, names of dropped weights."""
    lines = [f"# {title}", "", origin, "", *(f"- {fact}" for fact in facts)]
    if dropped:
        lines += ["", f"Dropped weights ({len(dropped)}):", ""]
        lines += [f"- `{printable(name)}`" for name in dropped]
    return "\n".join(lines) + "\n"
