"""Foreign weights under our names: renamed by a table, then compared with what our modules expect.

A table is a dict from the foreign name of a module (or of one weight) to ours. Nothing may be left over on
either side, and no weight may have another shape, another kind of numbers, NaN or infinity: each is an error
that says the foreign name. Knows no model and reads no files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from lip2speech.importers.base import MAX_NEAR, Found, fit, listed, near
from lip2speech.importers.inert import ForeignFileError, shown

SPELLINGS = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
"""How PyTorch 2 names a weight norm's two parts, and how all did before."""


@dataclass(frozen=True)
class KeyMap:
    """The names of one file.

    Attributes:
        path: of the file, for errors.
        what: the model that it should hold, for errors.
        table: foreign module (or weight) name, without the prefix -> ours.
        prefix: what every foreign name begins with.
        leaves: foreign name of a weight within its module -> ours, where they differ.
    """

    path: Path
    what: str
    table: Mapping[str, str | None]
    prefix: str = ""
    leaves: Mapping[str, str] = field(default_factory=dict)

    def translate(
        self, weights: Mapping[str, Tensor], dropped: Iterable[str] = ()
    ) -> tuple[Found, list[str]]:
        """Our names for weights, and the names that were dropped; an unknown name is an error.

        dropped: foreign modules, with their prefix, for which we have no use.
        """
        found: Found = {}
        left, unknown = [], []
        for foreign, tensor in weights.items():
            if any(foreign.startswith(f"{module}.") for module in dropped):
                left.append(foreign)
                continue
            own = foreign.startswith(self.prefix)
            ours = self.rename(foreign.removeprefix(self.prefix)) if own else None
            if ours is None:
                unknown.append(foreign)
            elif ours in found:
                names = f"{shown(foreign)} and {shown(found[ours][0])}"
                raise ForeignFileError(f"{self.path}: {names} are one weight.")
            else:
                found[ours] = (foreign, tensor)
        if unknown:
            raise ForeignFileError(
                f"{self.path}: {listed(unknown)} not part of {self.what}; is it another model's file? "
                f"({near(unknown, self.known(unknown))})"
            )
        return found, left

    def rename(self, name: str) -> str | None:
        """Our name for a foreign one: itself in the table, or its module there; None for neither."""
        if name in self.table:
            return self.table[name]
        for new, old in SPELLINGS.items():
            name = f"{name.removesuffix(new)}{old}" if name.endswith(new) else name
        module, _, leaf = name.rpartition(".")
        target = self.table.get(module)
        return f"{target}.{self.leaves.get(leaf, leaf)}" if target else None

    def known(self, like: Iterable[str]) -> list[str]:
        """Foreign names of the table: weights, modules, and what weights like these would be called there."""
        leaves = {name.rpartition(".")[2] for name in list(like)[:MAX_NEAR]}
        return [self.prefix + name for key in self.table for name in (key, *(f"{key}.{x}" for x in leaves))]

    def foreign(self, name: str) -> str:
        """The foreign name of one of our weights, the other way through the table."""
        back = {ours: theirs for theirs, ours in self.table.items() if ours is not None}
        if name in back:
            return f"{self.prefix}{back[name]}"
        for theirs, ours in self.leaves.items():
            name = f"{name.removesuffix(ours)}{theirs}" if name.endswith(f".{ours}") else name
        module, _, leaf = name.rpartition(".")
        return f"{self.prefix}{back[module]}.{leaf}"

    def shape(self, found: Found, name: str, dims: int) -> tuple[int, ...]:
        """The shape of a weight that tells a size."""
        if name not in found:
            raise ForeignFileError(f"{self.path}: {self.foreign(name)} is missing; the file is incomplete.")
        foreign, tensor = found[name]
        if tensor.dim() != dims or 0 in tensor.shape:
            given = f"has shape {tuple(tensor.shape)}, expected {dims} dimensions"
            raise ForeignFileError(f"{self.path}: {foreign}: {given}.")
        return tuple(tensor.shape)

    def fit(self, found: Found, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights in our types, once each one's name, shape and values are right.

        expected: what our modules hold; their shapes and types count alone, so they may be on `meta`.
        """
        return fit(found, expected, self.path, self.what, self.foreign)


def count_layers(names: Iterable[str], prefix: str, path: Path, what: str) -> int:
    """How many layers the names number from 0: counted, as a number in a name may be anything."""
    numbers = {name[len(prefix) :].partition(".")[0] for name in names if name.startswith(prefix)}
    count = len(numbers)
    if not count or numbers != {str(n) for n in range(count)}:
        raise ForeignFileError(
            f"{path}: {prefix}N: expected layers numbered from 0 without gaps; not {what}'s file."
        )
    return count


def state_of(**modules: Any) -> dict[str, Tensor]:
    """All weights of some modules, each name after its module's and a dot."""
    states = {part: module.state_dict() for part, module in modules.items()}
    return {f"{part}.{name}": tensor for part, state in states.items() for name, tensor in state.items()}
