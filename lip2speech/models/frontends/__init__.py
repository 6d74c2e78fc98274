"""Front ends: mouth crops to features (B, T, C) at 25 Hz; one class and its config per file."""

from typing import Any

from lip2speech.models.frontends.avhubert import AVHubert, AVHubertConfig
from lip2speech.models.frontends.resnet import ResNetConfig, ResNetFrontEnd

FRONTENDS: dict[type, Any] = {AVHubertConfig: AVHubert, ResNetConfig: ResNetFrontEnd}
"""The class for each config."""
