"""What every importer gives back, and the checks that all of them make on the weights they found.

Knows no model: names and shapes are compared with those of the module that will hold the weights.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lip2speech.importers.inert import ForeignFileError, shown

MAX_LISTED_NAMES = 5  # that an error lists
MAX_NEAR = 3  # of which it says what they may have been meant to be
MAX_LETTERS = 200  # of a name that is compared with others, which takes their product
MOST_SHARED = 4  # times the file's size: float16 becomes float32, and some models use a weight twice

Found = dict[str, tuple[str, Tensor]]
"""Our name -> the file's name for it, the weights."""


@dataclass(frozen=True)
class Imported:
    """What an import did: the folder's config and the foreign names that were dropped."""

    config: dict[str, Any]
    tensors: dict[str, Tensor]
    dropped: tuple[str, ...]


def check_claims(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse a small file whose views of one storage would become terabytes when each is stored by itself."""
    claimed = sum(4 * tensor.numel() for tensor in tensors.values())
    held = path.stat().st_size
    if claimed > MOST_SHARED * held:
        raise ForeignFileError(
            f"{path}: its {len(tensors)} tensors claim {claimed} bytes, the file has {held}; it is refused."
        )


def fit(
    found: Found,
    expected: Mapping[str, Tensor],
    path: Path,
    model: str,
    foreign: Callable[[str], str] = str,
) -> dict[str, Tensor]:
    """The weights as `expected` holds them (on no device), once each one's name, shape and values are right.

    foreign: the file's name for one of ours, for the error about a missing one.
    """
    if missing := [name for name in expected if name not in found]:
        theirs = [foreign(name) for name in missing]
        raise ForeignFileError(f"{path}: {listed(theirs)} missing; the file is incomplete.")
    if extra := [theirs for name, (theirs, _) in found.items() if name not in expected]:
        raise ForeignFileError(
            f"{path}: {listed(extra)} not part of this {model}; is it another model's file? "
            f"({near(extra, [foreign(name) for name in expected])})"
        )
    return {name: _fitting(*found[name], expected[name], path) for name in found}


def _fitting(foreign: str, tensor: Tensor, expected: Tensor, path: Path) -> Tensor:
    if tensor.shape != expected.shape:
        shapes = f"{tuple(tensor.shape)}, expected {tuple(expected.shape)}"
        raise ForeignFileError(f"{path}: {foreign}: has shape {shapes}.")
    if tensor.is_floating_point() != expected.is_floating_point():
        raise ForeignFileError(f"{path}: {foreign}: holds {tensor.dtype}, expected {expected.dtype}.")
    if not torch.isfinite(tensor).all():
        raise ForeignFileError(f"{path}: {foreign}: holds NaN or infinite values; fetch the file again.")
    return tensor.to(expected.dtype).contiguous()


def near(names: list[str], expected: Iterable[str]) -> str:
    """The expected name that is most like each of the first names, for the error about them."""
    known = list(expected)
    pairs = []
    for name in names[:MAX_NEAR]:
        best = difflib.get_close_matches(name[:MAX_LETTERS], known, n=1, cutoff=0.0)
        pairs += [f"{shown(best[0])} for {shown(name)}"] if best else []
    return f"nearest expected: {', '.join(pairs) or 'nothing'}"


def listed(names: list[str]) -> str:
    """The first names and how many more there are, with the verb that follows."""
    first = ", ".join(shown(name) for name in names[:MAX_LISTED_NAMES])
    more = f" and {len(names) - MAX_LISTED_NAMES} more" if len(names) > MAX_LISTED_NAMES else ""
    return f"{first}{more} {'is' if len(names) == 1 else 'are'}"
