"""The adversarial half of codec and vocoder training (lip2speech/train/gan.py)."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lip2speech.discriminators import MPDConfig, MSDConfig, MSSTFTDConfig, STFTDConfig, build_discriminators
from lip2speech.train.core.config import OptimizerConfig
from lip2speech.train.core.optim import OptimizerWithSchedule
from lip2speech.train.gan import AdversarialTrainer

MS_STFT = MSSTFTDConfig(filters=2, n_ffts=(256, 128))
WAVE = MSDConfig(filters=4, max_filters=8, scales=2)
STFT = STFTDConfig(filters=2, n_fft=128, hop_length=32)
PERIOD = MPDConfig(periods=(2, 3), filters=2, max_filters=4)


def build(update_prob: float = 1.0) -> AdversarialTrainer:
    torch.manual_seed(0)
    discriminator = build_discriminators(MS_STFT, WAVE, STFT)
    optimizer = OptimizerWithSchedule(
        discriminator.parameters(), OptimizerConfig(lr=2e-3, warmup_steps=1, grad_clip=10.0), 60
    )
    return AdversarialTrainer(discriminator, optimizer, precision="fp32", update_prob=update_prob)


def wavs() -> tuple[Tensor, Tensor]:
    """Noise as real, a buzz as fake: (4, 1, 2048) each."""
    time = torch.arange(2048) / 16_000
    real = 0.1 * torch.randn(4, 1, 2048, generator=torch.Generator().manual_seed(0))
    return real, 0.1 * torch.sin(2 * torch.pi * 200 * time).expand(4, 1, -1)


def test_all_configured_discriminators_are_built() -> None:
    assert len(build_discriminators(MS_STFT, WAVE, STFT, PERIOD).discriminators) == 2 + 2 + 1 + 2
    assert len(build_discriminators(WAVE).discriminators) == 2
    assert len(build_discriminators(None, PERIOD).discriminators) == 2
    with pytest.raises(ValueError, match="no discriminator is configured; set msstftd, msd"):
        build_discriminators()


def test_the_discriminators_learn_to_separate_a_buzz_from_noise() -> None:
    gan, (real, fake) = build(), wavs()
    rng = np.random.default_rng(0)
    losses = [gan.discriminator_step(real, fake, step, rng)["loss/disc"] for step in range(30)]
    assert losses[-1] < 0.7 * losses[0]
    with torch.no_grad():
        (real_logits, _), (fake_logits, _) = gan.discriminator(real), gan.discriminator(fake)
    assert all(a.mean() > b.mean() for a, b in zip(real_logits, fake_logits, strict=True))


def test_generator_losses_have_a_gradient_for_the_generator_only() -> None:
    gan, (real, fake) = build(), wavs()
    fake = fake.clone().requires_grad_()
    terms = gan.generator_losses(real, fake)
    assert set(terms) == {"loss/adv", "loss/feat_match"}
    for term in terms.values():
        (grad,) = torch.autograd.grad(term, fake, retain_graph=True)
        assert float(grad.abs().max()) > 0
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is None and p.requires_grad for p in gan.discriminator.parameters())
    assert float(gan.generator_losses(real, real)["loss/feat_match"]) == 0


def test_update_prob_skips_some_steps() -> None:
    gan, (real, fake) = build(update_prob=0.5), wavs()
    rng = np.random.default_rng(0)
    learned = [bool(gan.discriminator_step(real, fake, step, rng)) for step in range(30)]
    assert 8 <= sum(learned) <= 22
