"""Vocoder training: `kind` in the YAML says which vocoder, WaveNet by default.

To add one: a file with a `VocoderTask` and its config, which has a `kind` and a field of that name, and one
line in `TASKS`; then a YAML in `configs/vocoder/` and a test in `tests/train/vocoder/`.
"""

from __future__ import annotations

from typing import Any

from lip2speech.train.vocoder.base import VocoderTask
from lip2speech.train.vocoder.hifigan import HiFiGANTask, HiFiGANTrainConfig
from lip2speech.train.vocoder.wavenet import WaveNetTask, WaveNetTrainConfig

VocoderTrainConfig = WaveNetTrainConfig | HiFiGANTrainConfig

TASKS: dict[type, type[VocoderTask[Any]]] = {
    WaveNetTrainConfig: WaveNetTask,
    HiFiGANTrainConfig: HiFiGANTask,
}
"""Config -> the task that it configures."""
