"""Initialization of a lip model from a checkpoint: a whole lip model, or a pretrained front end."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from lip2speech import checkpoint
from lip2speech.models.lip2speech import LipModel


def init_from_checkpoint(model: LipModel, folder: str | Path, new_prefixes: tuple[str, ...] = ()) -> bool:
    """Load a whole lip model, or a pretrained AV-HuBERT into the front end.

    Args:
        model: changed in place.
        folder: checkpoint folder.
        new_prefixes: prefixes of tensor names that the checkpoint may lack or have in another shape; those
            tensors keep their random initialization.
    Returns:
        True for a whole lip model, False for a front end.
    """
    loaded = checkpoint.load(folder)
    kind = loaded.config.get("kind")
    if kind in ("lip-model", "lip2speech"):
        stored = loaded.config.get("model", {}).get("frontend", {})
    else:
        stored = loaded.config.get("frontend", {})
    for name in ("heads", "activation", "stem_stride"):  # not visible in any tensor's shape
        expected = getattr(model.config.frontend, name)
        if stored.get(name, expected) != expected:
            raise ValueError(
                f"{folder} has frontend.{name} {stored[name]}, model.frontend.{name} is {expected}."
            )
    if kind == "lip-model":
        checkpoint.load_weights(model, keep_new(model, loaded.tensors, new_prefixes))
    elif kind == "lip2speech":
        checkpoint.load_weights(model, keep_new(model, loaded.subset("model."), new_prefixes))
    elif frontend := loaded.subset("frontend."):
        checkpoint.load_weights(model.frontend, frontend)
    else:
        raise ValueError(f"{folder} holds {kind!r}; initialize from a lip model or an imported front end.")
    return kind in ("lip-model", "lip2speech")


def keep_new(model: LipModel, tensors: dict[str, Tensor], new_prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    """The tensors, with the model's own for `new_prefixes` where they are missing or differ in shape."""
    own = {
        name: value
        for name, value in model.state_dict().items()
        if new_prefixes and name.startswith(new_prefixes)
    }
    misfits = {name for name in own if name in tensors and tensors[name].shape != own[name].shape}
    return own | {name: value for name, value in tensors.items() if name not in misfits}
