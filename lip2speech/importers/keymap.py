"""Foreign weights under our names: renamed by a table, then matched with our modules.

A table maps the foreign name of a module (or of a single weight) to ours. Nothing may be left over on either
side, and no weight may differ in shape or kind of dtype, or contain NaN or infinity; the errors give the
foreign name. Independent of any model and file format.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from lip2speech.importers.base import MAX_SUGGESTIONS, RenamedWeights, closest_names, format_names, match
from lip2speech.importers.foreign_file import ForeignFileError, printable

WEIGHT_NORM = {
    "parametrizations.weight.original0": "weight_g",
    "parametrizations.weight.original1": "weight_v",
}
"""The two tensors of a weight norm: their names in PyTorch 2, and before."""


@dataclass(frozen=True)
class KeyMap:
    """The names of one file.

    Attributes:
        path: the file, for errors.
        model_name: the model that it should hold, for errors.
        table: foreign module (or weight) name, without the prefix -> ours.
        prefix: the beginning of every foreign name.
        leaves: foreign name of a weight within its module -> ours, where they differ.
    """

    path: Path
    model_name: str
    table: Mapping[str, str | None]
    prefix: str = ""
    leaves: Mapping[str, str] = field(default_factory=dict)

    def translate(
        self, weights: Mapping[str, Tensor], dropped: Iterable[str] = ()
    ) -> tuple[RenamedWeights, list[str]]:
        """The weights under our names, and the names that were dropped; an unknown name is an error.

        Args:
            weights: foreign name -> weight.
            dropped: foreign modules, with their prefix, that we have no use for.
        """
        found: RenamedWeights = {}
        left, unknown = [], []
        for foreign, tensor in weights.items():
            if any(foreign.startswith(f"{module}.") for module in dropped):
                left.append(foreign)
                continue
            prefixed = foreign.startswith(self.prefix)
            ours = self.rename(foreign.removeprefix(self.prefix)) if prefixed else None
            if ours is None:
                unknown.append(foreign)
            elif ours in found:
                names = f"{printable(foreign)} and {printable(found[ours][0])}"
                raise ForeignFileError(f"{self.path}: {names} are the same weight.")
            else:
                found[ours] = (foreign, tensor)
        if unknown:
            raise ForeignFileError(
                f"{self.path}: {format_names(unknown)} not part of {self.model_name}; is it another model's "
                f"file? ({closest_names(unknown, self.known(unknown))})"
            )
        return found, left

    def rename(self, name: str) -> str | None:
        """Our name for a foreign one: by its own entry in the table, else its module's; None for neither."""
        if name in self.table:
            return self.table[name]
        for new, old in WEIGHT_NORM.items():
            name = f"{name.removesuffix(new)}{old}" if name.endswith(new) else name
        module, _, leaf = name.rpartition(".")
        target = self.table.get(module)
        return f"{target}.{self.leaves.get(leaf, leaf)}" if target else None

    def known(self, like: Iterable[str]) -> list[str]:
        """Foreign names in the table: its entries, and its modules with the leaves of the names in `like`."""
        leaves = {name.rpartition(".")[2] for name in list(like)[:MAX_SUGGESTIONS]}
        return [self.prefix + name for key in self.table for name in (key, *(f"{key}.{x}" for x in leaves))]

    def foreign(self, name: str) -> str:
        """The foreign name of one of our weights: the inverse of `rename`."""
        inverse = {ours: theirs for theirs, ours in self.table.items() if ours is not None}
        if name in inverse:
            return f"{self.prefix}{inverse[name]}"
        for theirs, ours in self.leaves.items():
            name = f"{name.removesuffix(ours)}{theirs}" if name.endswith(f".{ours}") else name
        module, _, leaf = name.rpartition(".")
        return f"{self.prefix}{inverse[module]}.{leaf}"

    def shape(self, found: RenamedWeights, name: str, dims: int) -> tuple[int, ...]:
        """The shape of a weight from which a size is read."""
        if name not in found:
            raise ForeignFileError(f"{self.path}: {self.foreign(name)} is missing; the file is incomplete.")
        foreign, tensor = found[name]
        if tensor.dim() != dims or 0 in tensor.shape:
            shape = f"has shape {tuple(tensor.shape)}, expected {dims} dimensions"
            raise ForeignFileError(f"{self.path}: {foreign}: {shape}.")
        return tuple(tensor.shape)

    def match(self, found: RenamedWeights, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights in our dtypes, after checking names, shapes and values.

        Args:
            found: the weights of the file.
            expected: the state dict of our modules; only shapes and dtypes are used, so it may be on `meta`.
        """
        return match(found, expected, self.path, self.model_name, self.foreign)


def count_layers(names: Iterable[str], prefix: str, path: Path, model_name: str) -> int:
    """The number of layers that the names number from 0 without gaps."""
    numbers = {name[len(prefix) :].partition(".")[0] for name in names if name.startswith(prefix)}
    count = len(numbers)  # counted, as a number in a name may be anything
    if not count or numbers != {str(n) for n in range(count)}:
        raise ForeignFileError(
            f"{path}: {prefix}N: expected layers numbered from 0 without gaps; not a {model_name} file."
        )
    return count


def prefixed_state_dict(**modules: nn.Module) -> dict[str, Tensor]:
    """The state dicts of some modules in one, each name prefixed with its module's."""
    states = {part: module.state_dict() for part, module in modules.items()}
    return {f"{part}.{name}": tensor for part, state in states.items() for name, tensor in state.items()}
