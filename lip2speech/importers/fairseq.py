"""fairseq checkpoints: their weights and the few settings a model needs, read without fairseq.

The trainer writes one mapping: `model` (named weights), `cfg` (nested settings; a plain dict or omegaconf)
or, in old files, `args` (an argparse.Namespace). Everything else in the file (tokenizers, optimiser, meters)
stays inert.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lip2speech.importers.inert import ForeignFileError, StubObject, shown
from lip2speech.importers.torchfile import TorchFile


@dataclass(frozen=True)
class FairseqCheckpoint:
    """What a fairseq file holds: `model` name -> weights of any shape, and its settings."""

    path: Path
    model: dict[str, Tensor]
    cfg: Any
    args: Any

    def setting(self, *names: str) -> Any:
        """A value of the nested settings, as `setting("model", "encoder_layers")`, or None.

        Old files have one flat list of arguments: there the last name counts.
        """
        value = self.cfg
        for name in names:
            value = _members(value).get(name)
        return _members(self.args).get(names[-1]) if value is None else _plain(value)


def read_fairseq(path: str | Path) -> FairseqCheckpoint:
    """Read a fairseq checkpoint as data; ForeignFileError for anything else."""
    with TorchFile(path) as file:
        contents = file.contents
        if not isinstance(contents, Mapping) or "model" not in contents:
            raise ForeignFileError(
                f"{path}: not a fairseq checkpoint; expected a mapping with `model`, got {shown(contents)}."
            )
        model = file.tensors(contents["model"])
        return FairseqCheckpoint(Path(path), model, contents.get("cfg"), contents.get("args"))


def _members(value: Any) -> Mapping[str, Any]:
    """The named values of a dict, an argparse.Namespace or an omegaconf DictConfig; else none."""
    if isinstance(value, StubObject):
        value = value.state
        if isinstance(value, Mapping) and "_content" in value:
            value = value["_content"]
    return value if isinstance(value, Mapping) else {}


def _plain(value: Any) -> Any:
    """What an omegaconf node wraps; other values as they are."""
    if isinstance(value, StubObject) and isinstance(value.state, Mapping) and "_val" in value.state:
        return value.state["_val"]
    return value
