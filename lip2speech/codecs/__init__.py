"""Neural codecs: one class and one config a file, chosen by name."""

from typing import Any

from lip2speech.codecs.base import Codec
from lip2speech.codecs.encodec import EnCodec, EnCodecConfig
from lip2speech.codecs.melcodec import MelCodec, MelCodecConfig
from lip2speech.codecs.sacodec import SACodec, SACodecConfig
from lip2speech.codecs.soundstream import SoundStream, SoundStreamConfig

CODECS: dict[str, Any] = {
    "encodec": EnCodec,
    "melcodec": MelCodec,
    "sacodec": SACodec,
    "soundstream": SoundStream,
}
CODEC_CONFIGS: dict[str, type] = {
    "encodec": EnCodecConfig,
    "melcodec": MelCodecConfig,
    "sacodec": SACodecConfig,
    "soundstream": SoundStreamConfig,
}

__all__ = [
    "CODECS",
    "CODEC_CONFIGS",
    "Codec",
    "EnCodec",
    "EnCodecConfig",
    "MelCodec",
    "MelCodecConfig",
    "SACodec",
    "SACodecConfig",
    "SoundStream",
    "SoundStreamConfig",
    "build_codec",
]


def build_codec(config: EnCodecConfig | MelCodecConfig | SACodecConfig | SoundStreamConfig) -> Codec:
    """The codec that these numbers describe, with random weights."""
    for name, kind in CODEC_CONFIGS.items():
        if isinstance(config, kind):
            return CODECS[name](config)
    expected = ", ".join(kind.__name__ for kind in CODEC_CONFIGS.values())
    raise ValueError(f"config must be one of {expected}, got {type(config).__name__}.")
