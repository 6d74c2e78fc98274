"""Front ends: mouth crops in, features (B, T, C) at 25 Hz out; one class and one config a file."""

from typing import Any

from lip2speech.models.frontends.avhubert import AVHubert, AVHubertConfig
from lip2speech.models.frontends.resnet import ResNetConfig, ResNetFrontEnd

FRONTENDS: dict[type, Any] = {AVHubertConfig: AVHubert, ResNetConfig: ResNetFrontEnd}
"""The plug for each kind of config."""
