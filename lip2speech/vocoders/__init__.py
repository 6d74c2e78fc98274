"""Vocoders by name: what `--vocoder` chooses from.

To add one: a file with a `Vocoder` that lists the fields it needs, one line in `UNTRAINED_VOCODERS` or
`TRAINED_VOCODERS` (`registry.py`), for a trained one a task in `train/vocoder/` and a YAML in
`configs/vocoder/`, and one test in `tests/vocoders/`.
"""

from lip2speech.vocoders.base import Vocoder
from lip2speech.vocoders.channel import ChannelVocoder
from lip2speech.vocoders.codec import CodecDecoderVocoder, CodecMelVocoder
from lip2speech.vocoders.griffin_lim import GriffinLim
from lip2speech.vocoders.hifigan import HiFiGAN, HiFiGANConfig
from lip2speech.vocoders.registry import (
    TRAINED_VOCODERS,
    UNTRAINED_VOCODERS,
    build_vocoder,
    build_vocoders,
    load_vocoder,
    read_vocoder,
    vocoder_config,
    vocoder_from_dict,
)
from lip2speech.vocoders.wavenet import WaveNet, WaveNetConfig

__all__ = [
    "TRAINED_VOCODERS",
    "UNTRAINED_VOCODERS",
    "ChannelVocoder",
    "CodecDecoderVocoder",
    "CodecMelVocoder",
    "GriffinLim",
    "HiFiGAN",
    "HiFiGANConfig",
    "Vocoder",
    "WaveNet",
    "WaveNetConfig",
    "build_vocoder",
    "build_vocoders",
    "load_vocoder",
    "read_vocoder",
    "vocoder_config",
    "vocoder_from_dict",
]
