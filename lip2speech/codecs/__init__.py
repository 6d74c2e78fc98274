"""Neural codecs: one class and one config per file, chosen by name.

To add one: a file with a config dataclass and a `Codec`, one line in `CODECS` (`builders.py`), one YAML in
`configs/codec/`, and one test in `tests/codecs/`.
"""

from lip2speech.codecs.base import Codec
from lip2speech.codecs.builders import (
    CODECS,
    build_codec,
    code_fingerprint,
    codec_config,
    codec_from_dict,
    codec_name,
    load_codec,
    load_codec_from_model,
)
from lip2speech.codecs.encodec import EnCodec, EnCodecConfig
from lip2speech.codecs.melcodec import MelCodec, MelCodecConfig
from lip2speech.codecs.sacodec import SACodec, SACodecConfig
from lip2speech.codecs.soundstream import SoundStream, SoundStreamConfig

__all__ = [
    "CODECS",
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
    "code_fingerprint",
    "codec_config",
    "codec_from_dict",
    "codec_name",
    "load_codec",
    "load_codec_from_model",
]
