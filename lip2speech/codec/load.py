"""Codecs from configs and from checkpoint folders; the one place where a codec's name becomes its class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lip2speech import checkpoint
from lip2speech.codec import CODEC_CONFIGS, build_codec
from lip2speech.codec.base import Codec
from lip2speech.config import from_dict


def codec_name(config: Any) -> str:
    """The name that `codec_from_dict` needs to build this config's codec again."""
    return next(name for name, config_class in CODEC_CONFIGS.items() if isinstance(config, config_class))


def codec_from_dict(name: str, config: dict[str, Any]) -> Codec:
    """A codec with fresh weights from plain values."""
    if name not in CODEC_CONFIGS:
        raise ValueError(f"no codec is called {name!r}; known: {', '.join(CODEC_CONFIGS)}.")
    return build_codec(from_dict(CODEC_CONFIGS[name], config, where=f"codec {name}"))


def load_codec(folder: str | Path) -> Codec:
    """The codec of a folder written by `lip2speech train codec`, in eval mode.

    Raises:
        CheckpointError: damaged or incomplete folder.
        ValueError: the folder holds something else.
    """
    loaded = checkpoint.load(folder)
    if loaded.config.get("kind") != "codec":
        raise ValueError(f"{folder} holds {loaded.config.get('kind')!r}, expected a codec.")
    codec = codec_from_dict(loaded.config["name"], loaded.config["codec"])
    checkpoint.load_into(codec, loaded.tensors)
    return codec.eval()
