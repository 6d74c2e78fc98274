"""The models that ship with the package, and how a model is named: by its name there, or by its folder."""

from __future__ import annotations

import os
from pathlib import Path

PRETRAINED = Path(__file__).parent


def shipped() -> list[str]:
    """The names of the models that ship."""
    return sorted(path.parent.name for path in PRETRAINED.glob("*/config.yaml"))


def folder_of(model: str | os.PathLike) -> Path:
    """The folder of a shipped model by name, or the folder itself; `./NAME` is always a folder."""
    return PRETRAINED / model if isinstance(model, str) and model in shipped() else Path(model)
