"""The adversarial half of codec training: discriminators, their optimiser, and what they tell the codec.

Any judge together: EnCodec's multi-scale STFT, SoundStream's waves and complex STFT. Hinge losses and
relative feature matching (EnCodec, Defossez et al. 2022, section 3.4) for all: SoundStream's own feature loss
is not divided by the features' size, so its weight of 100 does not carry over. It knows no codec.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lip2speech.train import losses
from lip2speech.train.discriminators import Discriminators, MSSTFTConfig, MSSTFTDiscriminator
from lip2speech.train.loop import Optimizer, autocast
from lip2speech.train.parts import WHOLE, Part
from lip2speech.train.soundstream_discriminators import (
    ComplexSTFTConfig,
    ComplexSTFTDiscriminator,
    WaveConfig,
    wave_discriminators,
)


def build_discriminators(
    ms_stft: MSSTFTConfig | None = None,
    wave: WaveConfig | None = None,
    stft: ComplexSTFTConfig | None = None,
) -> Discriminators:
    """Those that are given, as one."""
    scales: list[nn.Module] = []
    if ms_stft is not None:
        scales += MSSTFTDiscriminator(ms_stft).scales
    if wave is not None:
        scales += wave_discriminators(wave).scales
    if stft is not None:
        scales.append(ComplexSTFTDiscriminator(stft))
    if not scales:
        raise ValueError(
            "no discriminator is left; give discriminator, wave_discriminator or stft_discriminator, and "
            "gan_from beyond the last step to train without."
        )
    return Discriminators(scales)


class Adversary:
    """Discriminators that learn to tell a codec's wavs from real ones.

    Args:
        chance: of an update at each step (EnCodec: 2/3 at 24 kHz), so that they do not run away.
    """

    def __init__(
        self, discriminator: Discriminators, optimizer: Optimizer, *, precision: str, chance: float = 1.0
    ):
        self.discriminator, self.optimizer = discriminator, optimizer
        self.precision, self.chance = precision, chance

    def update(
        self, real: Tensor, fake: Tensor, step: int, rng: np.random.Generator, part: Part = WHOLE
    ) -> dict[str, float]:
        """Learn from a batch (B, 1, T_a) each, or rest; what there is to log.

        rng is alike in all parts of the step, which rest together. They learn with the last part: of several
        in one process, the codec hears in the others what they thought before.
        """
        if self.chance < 1 and rng.random() >= self.chance:
            return {}
        with autocast(self.precision, real.device):
            real_logits, _ = self.discriminator(real)
            fake_logits, _ = self.discriminator(fake.detach())
        loss = losses.discriminator_loss(real_logits, fake_logits)
        self.optimizer.apply(loss, step, part)
        return {"d": loss.item()}

    def terms(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """The codec's adversarial and feature losses, () each; the discriminators get no gradient."""
        self.discriminator.requires_grad_(False)
        with autocast(self.precision, real.device):
            with torch.no_grad():
                _, real_maps = self.discriminator(real)
            fake_logits, fake_maps = self.discriminator(fake)
        self.discriminator.requires_grad_(True)
        adversarial, feature = losses.adversarial_loss(fake_logits), losses.feature_loss(real_maps, fake_maps)
        return {"g": adversarial, "feat": feature}

    def state(self) -> dict[str, Any]:
        return {"discriminator": self.discriminator.state_dict(), "gan_opt": self.optimizer.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        self.discriminator.load_state_dict(state["discriminator"])
        self.optimizer.load_state(state["gan_opt"])
