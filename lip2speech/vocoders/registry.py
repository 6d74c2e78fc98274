"""The one place where a vocoder's name becomes a vocoder, from configs and from checkpoint folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lip2speech import checkpoint
from lip2speech.audio.mel import MelConfig
from lip2speech.checkpoint import build_and_load
from lip2speech.codecs import Codec, MelCodec
from lip2speech.config import from_dict
from lip2speech.vocoders.base import Vocoder
from lip2speech.vocoders.channel import ChannelVocoder
from lip2speech.vocoders.codec import CodecDecoderVocoder, CodecMelVocoder
from lip2speech.vocoders.griffin_lim import GriffinLim
from lip2speech.vocoders.hifigan import HiFiGAN
from lip2speech.vocoders.wavenet import WaveNet

KIND = "vocoder"
"""`kind` in the config of a vocoder's checkpoint folder."""

UNTRAINED_VOCODERS: dict[str, Callable[[Codec | None, MelConfig], Vocoder | None]] = {
    "codes": lambda codec, mel: CodecDecoderVocoder(codec) if codec else None,
    "codes-independent": lambda codec, mel: CodecDecoderVocoder(codec, "independent") if codec else None,
    "griffin-lim": lambda codec, mel: GriffinLim(mel),
    "channel": lambda codec, mel: ChannelVocoder(mel) if ChannelVocoder.supports(mel) else None,
    "mel": lambda codec, mel: CodecMelVocoder(codec) if isinstance(codec, MelCodec) else None,
}
"""Vocoders without weights of their own; None where the model's codec or mel does not allow one."""
TRAINED_VOCODERS: dict[str, Any] = {"hifigan": HiFiGAN, "wavenet": WaveNet}
"""Vocoders with weights, which a model folder may include."""


def build_vocoders(codec: Codec | None, mel: MelConfig) -> dict[str, Vocoder]:
    """Every untrained vocoder that the codec, if any, and the mel config allow, by name."""
    built = {name: build(codec, mel) for name, build in UNTRAINED_VOCODERS.items()}
    return {name: vocoder for name, vocoder in built.items() if vocoder is not None}


def vocoder_config(name: str, config: dict[str, Any]) -> Any:
    """The config of the trained vocoder called `name`, from plain values."""
    if name not in TRAINED_VOCODERS:
        raise ValueError(f"no vocoder is called {name!r}; known: {', '.join(TRAINED_VOCODERS)}.")
    return from_dict(TRAINED_VOCODERS[name].config_class, config, where=f"vocoder {name}")


def build_vocoder(name: str, config: Any) -> Vocoder:
    """The trained vocoder of a config, with random weights."""
    vocoder: Vocoder = TRAINED_VOCODERS[name](config)
    return vocoder


def vocoder_from_dict(name: str, config: dict[str, Any]) -> Vocoder:
    """A trained vocoder with random weights, from plain values."""
    return build_vocoder(name, vocoder_config(name, config))


def read_vocoder(folder: str | Path) -> checkpoint.Checkpoint:
    """A vocoder's checkpoint folder; its config has `name` and, under `vocoder`, the sizes.

    Raises:
        CheckpointError: the folder is damaged or incomplete, or holds something else.
    """
    return checkpoint.load(folder, KIND, keys=("name", "vocoder"))


def load_vocoder(folder: str | Path) -> Vocoder:
    """The vocoder of a folder, in eval mode. Errors as in `read_vocoder`; ValueError for an unknown name."""
    loaded = read_vocoder(folder)
    name = loaded.config["name"]
    config = vocoder_config(name, loaded.config["vocoder"])
    return build_and_load(lambda: build_vocoder(name, config), config, loaded.tensors, "vocoder").eval()
