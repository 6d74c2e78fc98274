"""Vocoder plugs by route name: what `--route` chooses between."""

from __future__ import annotations

from lip2speech.codec.base import Codec
from lip2speech.codec.melcodec import MelCodec
from lip2speech.mel import MelConfig
from lip2speech.vocoder.base import Vocoder
from lip2speech.vocoder.channel import ChannelVocoder
from lip2speech.vocoder.codec import CodesVocoder, MelVocoder
from lip2speech.vocoder.griffin_lim import GriffinLim

__all__ = ["ChannelVocoder", "CodesVocoder", "GriffinLim", "MelVocoder", "Vocoder", "build_vocoders"]


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
