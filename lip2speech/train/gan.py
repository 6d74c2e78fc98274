"""The adversarial half of codec and vocoder training: discriminators, their optimiser, what they tell.

Any judge together: EnCodec's multi-scale STFT, SoundStream's waves and complex STFT, HiFi-GAN's periods.
Hinge losses and relative feature matching (EnCodec, Defossez et al. 2022, section 3.4) for all: the feature
losses of SoundStream and HiFi-GAN are not divided by the features' size, and HiFi-GAN's add up over its
judges where these are means, so their weights do not carry over. It knows no codec and no vocoder.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lip2speech import losses
from lip2speech.discriminators import MultiDiscriminator
from lip2speech.train.core.config import OptimizerConfig
from lip2speech.train.core.device import autocast
from lip2speech.train.core.micro_batch import FULL_BATCH, MicroBatch
from lip2speech.train.core.optim import OptimizerWithSchedule


class AdversarialTrainer:
    """Discriminators that learn to tell wavs that a network made from real ones.

    Args:
        chance: of an update at each step (EnCodec: 2/3 at 24 kHz), so that they do not run away.
    """

    def __init__(
        self,
        discriminator: MultiDiscriminator,
        optimizer: OptimizerWithSchedule,
        *,
        precision: str,
        chance: float = 1.0,
    ):
        self.discriminator, self.optimizer = discriminator, optimizer
        self.precision, self.chance = precision, chance

    def update(
        self,
        real: Tensor,
        fake: Tensor,
        step: int,
        rng: np.random.Generator,
        micro_batch: MicroBatch = FULL_BATCH,
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
        self.optimizer.step(loss, step, micro_batch)
        return {"d": loss.item()}

    def terms(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Adversarial and feature losses of what made `fake`, () each; discriminators get no gradient."""
        self.discriminator.requires_grad_(False)
        with autocast(self.precision, real.device):
            with torch.no_grad():
                _, real_maps = self.discriminator(real)
            fake_logits, fake_maps = self.discriminator(fake)
        self.discriminator.requires_grad_(True)
        adversarial, feature = (
            losses.adversarial_loss(fake_logits),
            losses.feature_matching_loss(real_maps, fake_maps),
        )
        return {"g": adversarial, "feat": feature}

    def state_dict(self) -> dict[str, Any]:
        return {"discriminator": self.discriminator.state_dict(), "gan_opt": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.discriminator.load_state_dict(state["discriminator"])
        self.optimizer.load_state_dict(state["gan_opt"])


def build_adversary(
    discriminator: MultiDiscriminator,
    steps: int,
    *,
    lr: float,
    betas: tuple[float, float],
    precision: str,
    chance: float = 1.0,
) -> AdversarialTrainer:
    """Discriminators that learn for `steps` at the rate `lr`."""
    config = OptimizerConfig(lr=lr, betas=betas, warmup_steps=100, min_lr_ratio=0.1, grad_clip=10.0)
    optimizer = OptimizerWithSchedule(discriminator.parameters(), config, steps)
    return AdversarialTrainer(discriminator, optimizer, precision=precision, chance=chance)
