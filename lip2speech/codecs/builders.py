"""Codecs from configs and from checkpoint folders; the one place where a codec's name becomes its class."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from lip2speech import checkpoint
from lip2speech.codecs import CODEC_CONFIGS, build_codec
from lip2speech.codecs.base import Codec
from lip2speech.config import from_dict
from lip2speech.restore import restore

STATISTICS = ("inited", "cluster_size", "entries_sum")  # of a codebook's training; no code depends on them


def codec_name(config: Any) -> str:
    """The name that `codec_from_dict` needs to build this config's codec again."""
    for name, config_class in CODEC_CONFIGS.items():
        if isinstance(config, config_class):
            return name
    raise ValueError(f"no codec has a {type(config).__name__}; known: {', '.join(CODEC_CONFIGS)}.")


def codec_config(name: str, config: dict[str, Any]) -> Any:
    """The config of the codec called `name` from plain values; what they leave out keeps its default."""
    if name not in CODEC_CONFIGS:
        raise ValueError(f"no codec is called {name!r}; known: {', '.join(CODEC_CONFIGS)}.")
    return from_dict(CODEC_CONFIGS[name], config, where=f"codec {name}")


def codec_from_dict(name: str, config: dict[str, Any]) -> Codec:
    """A codec with fresh weights from plain values."""
    return build_codec(codec_config(name, config))


def load_codec(folder: str | Path) -> Codec:
    """The codec of a folder written by `lip2speech train codec`, in eval mode.

    Raises:
        CheckpointError: damaged or incomplete folder.
        ValueError: the folder holds something else.
    """
    return _codec_of(checkpoint.load(folder))


def codec_at(folder: str | Path) -> Codec:
    """The codec of a codec's folder or of a whole system, in eval mode; errors as in `load_codec`."""
    loaded = checkpoint.load(folder)
    if loaded.config.get("kind") != "lip2speech":
        return _codec_of(loaded)
    try:
        part = loaded.config["codec"]
        values = {"kind": "codec", "name": part["name"], "codec": part["config"]}
    except (KeyError, TypeError) as error:
        raise checkpoint.CheckpointError(f"{folder}: its config is wrong ({error}).") from error
    return _codec_of(replace(loaded, config=values, tensors=loaded.part("codec.")))


def _codec_of(loaded: checkpoint.Checkpoint) -> Codec:
    folder = loaded.folder
    if loaded.config.get("kind") != "codec":
        raise ValueError(f"{folder} holds {loaded.config.get('kind')!r}, expected a codec.")
    if missing := {"name", "codec"} - set(loaded.config):
        raise checkpoint.CheckpointError(f"{folder}: its config has no {' and no '.join(sorted(missing))}.")
    config = codec_config(loaded.config["name"], loaded.config["codec"])
    return restore(lambda: build_codec(config), config, loaded.tensors, "codec").eval()


def code_fingerprint(codec: Codec) -> str:
    """Whether two codecs mean the same by a code: a digest of encoder and codebooks, not of the decoder."""
    digest = hashlib.sha256()
    for name, tensor in sorted(codec.state_dict().items()):
        if name.startswith(("encoder.", "film.", "quantizer.")) and not name.endswith(STATISTICS):
            digest.update(name.encode() + tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
