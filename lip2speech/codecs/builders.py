"""Codecs from configs and checkpoint folders: the one place where a codec's name becomes its class."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from lip2speech import checkpoint
from lip2speech.checkpoint import build_and_load
from lip2speech.codecs.base import Codec
from lip2speech.codecs.encodec import EnCodec
from lip2speech.codecs.melcodec import MelCodec
from lip2speech.codecs.sacodec import SACodec
from lip2speech.codecs.soundstream import SoundStream
from lip2speech.config import from_dict

CODECS: dict[str, Any] = {
    "encodec": EnCodec,
    "melcodec": MelCodec,
    "sacodec": SACodec,
    "soundstream": SoundStream,
}
"""The codecs by the name that configs and checkpoints use."""
TRAINING_STATISTICS = ("inited", "cluster_size", "entries_sum")
"""Buffers of a codebook that no code depends on."""


def codec_name(config: Any) -> str:
    """The name of the codec that a config describes."""
    for name, codec in CODECS.items():
        if isinstance(config, codec.config_class):
            return name
    expected = ", ".join(codec.config_class.__name__ for codec in CODECS.values())
    raise ValueError(f"config must be one of {expected}, got {type(config).__name__}.")


def build_codec(config: Any) -> Codec:
    """The codec that a config describes, with random weights."""
    codec: Codec = CODECS[codec_name(config)](config)
    return codec


def codec_config(name: str, config: dict[str, Any]) -> Any:
    """The config of the codec called `name` from plain values; omitted ones keep their defaults."""
    if name not in CODECS:
        raise ValueError(f"no codec is called {name!r}; known: {', '.join(CODECS)}.")
    return from_dict(CODECS[name].config_class, config, where=f"codec {name}")


def codec_from_dict(name: str, config: dict[str, Any]) -> Codec:
    """A codec with random weights from plain values."""
    return build_codec(codec_config(name, config))


def load_codec(folder: str | Path) -> Codec:
    """The codec of a folder written by `lip2speech train codec`, in eval mode.

    Raises:
        CheckpointError: the folder is damaged, incomplete, or holds something else.
    """
    return _restore_codec(checkpoint.load(folder))


def load_codec_from_model(folder: str | Path) -> Codec:
    """The codec of a model folder, or of a codec's own folder, in eval mode; errors as in `load_codec`."""
    loaded = checkpoint.load(folder)
    if loaded.kind != "lip2speech":
        return _restore_codec(loaded)
    try:
        values = {
            "kind": "codec",
            "name": loaded.config["codec"]["name"],
            "codec": loaded.config["codec"]["config"],
        }
    except (KeyError, TypeError) as error:
        raise checkpoint.CheckpointError(f"{folder}: invalid codec in config.yaml ({error}).") from error
    return _restore_codec(replace(loaded, config=values, tensors=loaded.subset("codec.")))


def _restore_codec(loaded: checkpoint.Checkpoint) -> Codec:
    loaded.require("codec", keys=("name", "codec"))
    config = codec_config(loaded.config["name"], loaded.config["codec"])
    return build_and_load(lambda: build_codec(config), config, loaded.tensors, "codec").eval()


def code_fingerprint(codec: Codec) -> str:
    """A hash of encoder and codebooks, not of the decoder: equal for codecs whose codes mean the same."""
    digest = hashlib.sha256()
    for name, tensor in sorted(codec.state_dict().items()):
        if name.startswith(("encoder.", "film.", "quantizer.")) and not name.endswith(TRAINING_STATISTICS):
            digest.update(name.encode() + tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
