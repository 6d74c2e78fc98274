"""Neural codecs: one class a file, chosen by name."""

from lip2speech.codec.base import Codec
from lip2speech.codec.encodec import EnCodec, EnCodecConfig
from lip2speech.codec.melcodec import MelCodec, MelCodecConfig

CODECS: dict[str, type[Codec]] = {"encodec": EnCodec, "melcodec": MelCodec}
CODEC_CONFIGS: dict[str, type] = {"encodec": EnCodecConfig, "melcodec": MelCodecConfig}

__all__ = ["CODECS", "CODEC_CONFIGS", "Codec", "EnCodec", "EnCodecConfig", "MelCodec", "MelCodecConfig"]
