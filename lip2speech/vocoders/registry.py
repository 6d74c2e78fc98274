"""Vocoders with weights of their own, from configs and from folders; where a name becomes a class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lip2speech import checkpoint
from lip2speech.config import from_dict
from lip2speech.restore import restore
from lip2speech.vocoders import VOCODER_CONFIGS, VOCODERS
from lip2speech.vocoders.base import Vocoder

KIND = "vocoder"
"""What the config of such a folder calls itself."""


def vocoder_config(name: str, config: dict[str, Any]) -> Any:
    """The config of the vocoder called `name` from plain values."""
    if name not in VOCODERS:
        raise ValueError(f"no vocoder is called {name!r}; known: {', '.join(VOCODERS)}.")
    return from_dict(VOCODER_CONFIGS[name], config, where=f"vocoder {name}")


def build_vocoder(name: str, config: Any) -> Vocoder:
    """The vocoder of a config, with fresh weights."""
    vocoder: Vocoder = VOCODERS[name](config)
    return vocoder


def vocoder_from_dict(name: str, config: dict[str, Any]) -> Vocoder:
    """A vocoder with fresh weights from plain values."""
    return build_vocoder(name, vocoder_config(name, config))


def read_vocoder(folder: str | Path) -> checkpoint.Checkpoint:
    """A vocoder's folder: `name` and, under `vocoder`, its sizes; its tensors have the vocoder's own names.

    Raises:
        CheckpointError: damaged or incomplete folder, or one that holds something else.
    """
    loaded = checkpoint.load(folder)
    if loaded.config.get("kind") != KIND or not {"name", "vocoder"} <= set(loaded.config):
        raise checkpoint.CheckpointError(
            f"{folder} holds {loaded.config.get('kind')!r}, expected a {KIND} with its name and sizes."
        )
    return loaded


def load_vocoder(folder: str | Path) -> Vocoder:
    """The vocoder of a folder, in eval mode. Errors as in `read_vocoder`; ValueError: an unknown one."""
    loaded = read_vocoder(folder)
    name = loaded.config["name"]
    config = vocoder_config(name, loaded.config["vocoder"])
    return restore(lambda: build_vocoder(name, config), config, loaded.tensors, "vocoder").eval()
