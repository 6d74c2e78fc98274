"""What a lip model starts from: a whole one, or a pretrained front end alone."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from lip2speech import checkpoint
from lip2speech.models.lip2speech import LipModel


def load_initial(model: LipModel, folder: str | Path, new: tuple[str, ...] = ()) -> bool:
    """Start from a whole lip model (True), or put a pretrained AV-HuBERT into the front end alone (False).

    new: how the names of tensors begin that the folder may lack or have in another size; those stay at their
    random start.
    """
    loaded = checkpoint.load(folder)
    kind = loaded.config.get("kind")
    if kind in ("lip-model", "lip2speech"):
        given = loaded.config.get("model", {}).get("frontend", {})
    else:
        given = loaded.config.get("frontend", {})
    for name in ("heads", "activation", "stem_stride"):  # no tensor's shape tells these
        own = getattr(model.config.frontend, name)
        if given.get(name, own) != own:
            raise ValueError(f"{folder} has frontend.{name} {given[name]}, model.frontend.{name} is {own}.")
    if kind == "lip-model":
        checkpoint.load_into(model, with_new(model, loaded.tensors, new))
    elif kind == "lip2speech":
        checkpoint.load_into(model, with_new(model, loaded.part("model."), new))
    elif frontend := loaded.part("frontend."):
        checkpoint.load_into(model.frontend, frontend)
    else:
        raise ValueError(f"{folder} holds {kind!r}; start from a lip model or an imported front end.")
    return kind in ("lip-model", "lip2speech")


def with_new(model: LipModel, tensors: dict[str, Tensor], new: tuple[str, ...]) -> dict[str, Tensor]:
    """The tensors; the model's own where a name begins with one of `new` and there is none of that shape."""
    own = {name: value for name, value in model.state_dict().items() if new and name.startswith(new)}
    unfit = {name for name in own if name in tensors and tensors[name].shape != own[name].shape}
    return own | {name: value for name, value in tensors.items() if name not in unfit}
