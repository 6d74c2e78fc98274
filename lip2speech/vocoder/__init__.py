"""Vocoder plugs by route name: what `--route` chooses between."""

from __future__ import annotations

from typing import Any

from lip2speech.codec.base import Codec
from lip2speech.codec.melcodec import MelCodec
from lip2speech.mel import MelConfig
from lip2speech.vocoder.base import Vocoder
from lip2speech.vocoder.channel import ChannelVocoder
from lip2speech.vocoder.codec import CodesVocoder, MelVocoder
from lip2speech.vocoder.griffin_lim import GriffinLim
from lip2speech.vocoder.hifigan import HiFiGAN, HiFiGANConfig
from lip2speech.vocoder.wavenet import WaveNet, WaveNetConfig

VOCODERS: dict[str, Any] = {"hifigan": HiFiGAN, "wavenet": WaveNet}
"""Vocoders with weights of their own, which a model's folder may bring; their names are their routes."""
VOCODER_CONFIGS: dict[str, type] = {"hifigan": HiFiGANConfig, "wavenet": WaveNetConfig}

__all__ = [
    "VOCODERS",
    "VOCODER_CONFIGS",
    "ChannelVocoder",
    "CodesVocoder",
    "GriffinLim",
    "HiFiGAN",
    "HiFiGANConfig",
    "MelVocoder",
    "Vocoder",
    "WaveNet",
    "WaveNetConfig",
    "build_vocoders",
]


def build_vocoders(codec: Codec | None, mel: MelConfig) -> dict[str, Vocoder]:
    """Every route that a codec, if there is one, and the mel recipe allow."""
    routes: dict[str, Vocoder] = {}
    if codec is not None:
        routes |= {"codes": CodesVocoder(codec), "codes-independent": CodesVocoder(codec, "independent")}
    routes["griffin-lim"] = GriffinLim(mel)
    if ChannelVocoder.takes(mel):
        routes["channel"] = ChannelVocoder(mel)
    if isinstance(codec, MelCodec):
        routes["mel"] = MelVocoder(codec)
    return routes
