"""Vocoders that can be trained: the `kind` of a recipe says which, a WaveNet where it says nothing."""

from __future__ import annotations

from lip2speech.train.vocoder.base import VocoderTask
from lip2speech.train.vocoder.hifigan import HiFiGANTask, HiFiGANTrainConfig
from lip2speech.train.vocoder.wavenet import WaveNetTask, WaveNetTrainConfig

VocoderTrainConfig = WaveNetTrainConfig | HiFiGANTrainConfig

TASKS: dict[type, type[VocoderTask]] = {WaveNetTrainConfig: WaveNetTask, HiFiGANTrainConfig: HiFiGANTask}
"""The plug for each kind of recipe."""
