"""Vocoder plugs by route name: what `--route` chooses between."""

from __future__ import annotations

from typing import Any

from lip2speech.audio.mel import MelConfig
from lip2speech.codecs.base import Codec
from lip2speech.codecs.melcodec import MelCodec
from lip2speech.vocoders.base import Vocoder
from lip2speech.vocoders.channel import ChannelVocoder
from lip2speech.vocoders.codec import CodecDecoderVocoder, CodecMelVocoder
from lip2speech.vocoders.griffin_lim import GriffinLim
from lip2speech.vocoders.hifigan import HiFiGAN, HiFiGANConfig
from lip2speech.vocoders.wavenet import WaveNet, WaveNetConfig

VOCODERS: dict[str, Any] = {"hifigan": HiFiGAN, "wavenet": WaveNet}
"""Vocoders with weights of their own, which a model's folder may bring; their names are their routes."""
VOCODER_CONFIGS: dict[str, type] = {"hifigan": HiFiGANConfig, "wavenet": WaveNetConfig}

__all__ = [
    "VOCODERS",
    "VOCODER_CONFIGS",
    "ChannelVocoder",
    "CodecDecoderVocoder",
    "CodecMelVocoder",
    "GriffinLim",
    "HiFiGAN",
    "HiFiGANConfig",
    "Vocoder",
    "WaveNet",
    "WaveNetConfig",
    "build_vocoders",
]


def build_vocoders(codec: Codec | None, mel: MelConfig) -> dict[str, Vocoder]:
    """Every route that a codec, if there is one, and the mel recipe allow."""
    routes: dict[str, Vocoder] = {}
    if codec is not None:
        routes |= {
            "codes": CodecDecoderVocoder(codec),
            "codes-independent": CodecDecoderVocoder(codec, "independent"),
        }
    routes["griffin-lim"] = GriffinLim(mel)
    if ChannelVocoder.takes(mel):
        routes["channel"] = ChannelVocoder(mel)
    if isinstance(codec, MelCodec):
        routes["mel"] = CodecMelVocoder(codec)
    return routes
