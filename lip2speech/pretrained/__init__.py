"""Bundled models, and how a model is named: by the name of a bundled one, or by its folder."""

from __future__ import annotations

import os
from pathlib import Path

PRETRAINED_DIR = Path(__file__).parent


def bundled_models() -> list[str]:
    """Names of the bundled models."""
    return sorted(path.parent.name for path in PRETRAINED_DIR.glob("*/config.yaml"))


def resolve_model_path(model: str | os.PathLike[str]) -> Path:
    """The folder of a bundled model by name, else the path itself; `./NAME` is always a path.

    Raises:
        CheckpointError: neither is there; lists the bundled models.
    """
    known = bundled_models()
    if isinstance(model, str) and model in known:
        return PRETRAINED_DIR / model
    if not Path(model).exists():
        from lip2speech.checkpoint.errors import CheckpointError

        raise CheckpointError(
            f"{os.fspath(model)}: no such checkpoint folder, and no bundled model has this name; "
            f"bundled are: {', '.join(known) or 'none'}."
        )
    return Path(model)
