"""Discriminators of GAN training; never part of an exported model.

To add one: a file with a config dataclass and a `MultiDiscriminator`, one line in `DISCRIMINATORS`, one
optional field in `CodecTrainConfig` or `HiFiGANTrainConfig` for the YAML key, and one test in
`tests/discriminators/`.
"""

from typing import Any

from lip2speech.discriminators.base import MultiDiscriminator
from lip2speech.discriminators.mpd import MPDConfig, MultiPeriodDiscriminator
from lip2speech.discriminators.msd import MSDConfig, MultiScaleDiscriminator
from lip2speech.discriminators.msstftd import MSSTFTDConfig, MSSTFTDiscriminator
from lip2speech.discriminators.stftd import STFTDConfig, STFTDiscriminator

DiscriminatorConfig = MSSTFTDConfig | MSDConfig | STFTDConfig | MPDConfig

DISCRIMINATORS: dict[type, Any] = {
    MSSTFTDConfig: MSSTFTDiscriminator,
    MSDConfig: MultiScaleDiscriminator,
    STFTDConfig: STFTDiscriminator,
    MPDConfig: MultiPeriodDiscriminator,
}
"""Config -> the discriminator it describes."""

__all__ = [
    "DISCRIMINATORS",
    "DiscriminatorConfig",
    "MPDConfig",
    "MSDConfig",
    "MSSTFTDConfig",
    "MSSTFTDiscriminator",
    "MultiDiscriminator",
    "MultiPeriodDiscriminator",
    "MultiScaleDiscriminator",
    "STFTDConfig",
    "STFTDiscriminator",
    "build_discriminators",
]


def build_discriminators(*configs: DiscriminatorConfig | None) -> MultiDiscriminator:
    """All configured discriminators as one; None stands for one that is switched off.

    Raises:
        ValueError: all are switched off.
    """
    found = [DISCRIMINATORS[type(config)](config) for config in configs if config is not None]
    if not found:
        raise ValueError(
            "no discriminator is configured; set msstftd, msd, stftd or mpd, or disc_start_step beyond the "
            "last step to train without a GAN."
        )
    return MultiDiscriminator(one for multi in found for one in multi.discriminators)
