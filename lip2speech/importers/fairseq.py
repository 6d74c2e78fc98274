"""fairseq checkpoints: weights, and the few settings a model needs, read without fairseq.

The trainer writes one mapping: `model` (named weights), `cfg` (nested settings; a plain dict or omegaconf)
or, in old files, `args` (an argparse.Namespace). The rest (tokenizers, optimizer, meters) stays inert.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lip2speech.importers.base import WRAPPER, check_expansion, unwrap
from lip2speech.importers.foreign_file import ForeignFileError, printable
from lip2speech.importers.safe_pickle import StubObject
from lip2speech.importers.torch_file import TorchFile


@dataclass(frozen=True)
class FairseqCheckpoint:
    """A fairseq file.

    Attributes:
        path: the file.
        model: foreign name -> weight.
        cfg: nested settings, or None.
        args: flat settings of an old file, or None.
        notes: what was unwrapped, see `unwrap`.
    """

    path: Path
    model: dict[str, Tensor]
    cfg: Any
    args: Any
    notes: tuple[str, ...] = ()

    def setting(self, *names: str) -> Any:
        """A value of the nested settings, as in `setting("model", "encoder_layers")`, or None.

        Old files have one flat list of arguments: there only the last name is used.
        """
        value = self.cfg
        for name in names:
            value = _members(value).get(name)
        return _members(self.args).get(names[-1]) if value is None else _plain(value)


def read_fairseq(path: str | Path) -> FairseqCheckpoint:
    """Read a fairseq checkpoint as data; ForeignFileError for anything else."""
    with TorchFile(path) as file:
        contents = file.contents
        if not isinstance(contents, Mapping) or not {"model", WRAPPER} & set(contents):
            raise ForeignFileError(
                f"{path}: not a fairseq checkpoint; expected a mapping with `model`, "
                f"got {printable(contents)}."
            )
        weights, notes = unwrap(contents, "model")
        model = file.tensors(weights)
    check_expansion(model, Path(path))
    return FairseqCheckpoint(Path(path), model, contents.get("cfg"), contents.get("args"), notes)


def _members(value: Any) -> Mapping[str, Any]:
    """The named values of a dict, an argparse.Namespace or an omegaconf DictConfig; else none."""
    if isinstance(value, StubObject):
        value = value.state
        if isinstance(value, Mapping) and "_content" in value:
            value = value["_content"]
    return value if isinstance(value, Mapping) else {}


def _plain(value: Any) -> Any:
    """The value inside an omegaconf node; other values unchanged."""
    if isinstance(value, StubObject) and isinstance(value.state, Mapping) and "_val" in value.state:
        return value.state["_val"]
    return value
