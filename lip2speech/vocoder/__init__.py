"""Vocoder plugs by route name: what `--route` chooses between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lip2speech.codec.base import Codec
from lip2speech.codec.melcodec import MelCodec
from lip2speech.mel import MelConfig
from lip2speech.vocoder.base import Vocoder
from lip2speech.vocoder.channel import ChannelVocoder
from lip2speech.vocoder.codec import CodesVocoder, MelVocoder
from lip2speech.vocoder.griffin_lim import GriffinLim
from lip2speech.vocoder.wavenet import WaveNet, load_wavenet

__all__ = [
    "TRAINED_VOCODERS",
    "ChannelVocoder",
    "CodesVocoder",
    "GriffinLim",
    "MelVocoder",
    "Vocoder",
    "WaveNet",
    "build_vocoders",
]

TRAINED_VOCODERS: dict[str, Callable[[str | Path], Vocoder]] = {"wavenet": load_wavenet}
"""Vocoders with weights of their own, by name: what reads a folder that `lip2speech train vocoder` wrote."""


def build_vocoders(codec: Codec, mel: MelConfig) -> dict[str, Vocoder]:
    """Every route that `codec` and the mel recipe allow; a new vocoder is one more line here."""
    routes: dict[str, Vocoder] = {
        "codes": CodesVocoder(codec),
        "codes-independent": CodesVocoder(codec, "independent"),
        "griffin-lim": GriffinLim(mel),
        "channel": ChannelVocoder(mel),
    }
    if isinstance(codec, MelCodec):
        routes["mel"] = MelVocoder(codec)
    return routes
