"""GAN losses (lip2speech/losses/gan.py)."""

import pytest
import torch

from lip2speech.losses import adversarial_loss, discriminator_loss, feature_matching_loss


def test_hinge_losses_have_known_values() -> None:
    real, fake = [torch.tensor([2.0, 0.5])], [torch.tensor([-2.0, 0.5])]
    assert float(discriminator_loss(real, fake)) == pytest.approx((0 + 0.5) / 2 + (0 + 1.5) / 2)
    assert float(adversarial_loss(fake)) == pytest.approx((3 + 0.5) / 2)
    assert float(discriminator_loss(real * 2, fake * 2)) == pytest.approx(1.0)  # the mean over scales


def test_feature_matching_loss_is_relative_to_the_real_map() -> None:
    real = [[torch.full((1, 2), 4.0)], [torch.full((1, 2), 0.5)]]
    fake = [[torch.full((1, 2), 5.0)], [torch.full((1, 2), 0.5)]]
    assert float(feature_matching_loss(real, fake)) == pytest.approx((1 / 4 + 0) / 2)
    assert float(feature_matching_loss(real, real)) == 0.0
