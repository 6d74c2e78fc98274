"""The adversarial part of codec and vocoder training: discriminators, their optimizer and losses.

Works with any discriminators: EnCodec's multi-scale STFT, SoundStream's waveform and STFT, HiFi-GAN's
periods. All use hinge losses and relative feature matching (EnCodec, Défossez et al. 2022, section 3.4). The
feature losses of SoundStream and HiFi-GAN are not divided by the magnitude of the features, and HiFi-GAN's
are summed over discriminators where these are means, so their weights do not carry over.
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
    """Discriminators that learn to separate generated from real wavs.

    Args:
        discriminator: all discriminators as one.
        optimizer: of their parameters.
        precision: of their forward passes.
        update_prob: probability of an update per step (EnCodec: 2/3 at 24 kHz), to keep them from becoming
            too strong.
    """

    def __init__(
        self,
        discriminator: MultiDiscriminator,
        optimizer: OptimizerWithSchedule,
        *,
        precision: str,
        update_prob: float = 1.0,
    ):
        self.discriminator, self.optimizer = discriminator, optimizer
        self.precision, self.update_prob = precision, update_prob

    def discriminator_step(
        self,
        real: Tensor,
        fake: Tensor,
        step: int,
        rng: np.random.Generator,
        micro_batch: MicroBatch = FULL_BATCH,
    ) -> dict[str, float]:
        """Update the discriminators, or skip the step with probability 1 - update_prob.

        With gradient accumulation the weights change after the last micro-batch only, so the generator's
        losses on the others come from the discriminators before the step.

        Args:
            real: (B, 1, T_a).
            fake: (B, 1, T_a); its generator gets no gradient.
            step: since the discriminators started.
            rng: the same in all micro-batches of a step, which are skipped together.
            micro_batch: of the step.

        Returns:
            Metrics to log; none if skipped.
        """
        if self.update_prob < 1 and rng.random() >= self.update_prob:
            return {}
        with autocast(self.precision, real.device):
            real_logits, _ = self.discriminator(real)
            fake_logits, _ = self.discriminator(fake.detach())
        loss = losses.discriminator_loss(real_logits, fake_logits)
        self.optimizer.step(loss, step, micro_batch)
        return {"loss/disc": loss.item()}

    def generator_losses(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Adversarial and feature-matching loss () of the generator; the discriminators get no gradient."""
        self.discriminator.requires_grad_(False)
        with autocast(self.precision, real.device):
            with torch.no_grad():
                _, real_features = self.discriminator(real)
            fake_logits, fake_features = self.discriminator(fake)
        self.discriminator.requires_grad_(True)
        return {
            "loss/adv": losses.adversarial_loss(fake_logits),
            "loss/feat_match": losses.feature_matching_loss(real_features, fake_features),
        }

    def state_dict(self) -> dict[str, Any]:
        """Weights and optimizer state."""
        return {
            "discriminator": self.discriminator.state_dict(),
            "disc_optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.discriminator.load_state_dict(state["discriminator"])
        self.optimizer.load_state_dict(state["disc_optimizer"])


def build_adversarial_trainer(
    discriminator: MultiDiscriminator,
    steps: int,
    *,
    lr: float,
    betas: tuple[float, float],
    precision: str,
    update_prob: float = 1.0,
) -> AdversarialTrainer:
    """Discriminators with an optimizer for `steps` steps at peak rate `lr`."""
    config = OptimizerConfig(lr=lr, betas=betas, warmup_steps=100, min_lr_ratio=0.1, grad_clip=10.0)
    optimizer = OptimizerWithSchedule(discriminator.parameters(), config, steps)
    return AdversarialTrainer(discriminator, optimizer, precision=precision, update_prob=update_prob)
