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


def adversary(chance: float = 1.0) -> AdversarialTrainer:
    torch.manual_seed(0)
    discriminator = build_discriminators(MS_STFT, WAVE, STFT)
    optimizer = OptimizerWithSchedule(
        discriminator.parameters(), OptimizerConfig(lr=2e-3, warmup_steps=1, grad_clip=10.0), 60
    )
    return AdversarialTrainer(discriminator, optimizer, precision="fp32", chance=chance)


def sounds() -> tuple[Tensor, Tensor]:
    """Noise as the truth, a buzz as the fake: (4, 1, 2048) each."""
    time = torch.arange(2048) / 16_000
    real = 0.1 * torch.randn(4, 1, 2048, generator=torch.Generator().manual_seed(0))
    return real, 0.1 * torch.sin(2 * torch.pi * 200 * time).expand(4, 1, -1)


def test_all_that_are_given_judge():
    assert len(build_discriminators(MS_STFT, WAVE, STFT, PERIOD).discriminators) == 2 + 2 + 1 + 2
    assert len(build_discriminators(WAVE).discriminators) == 2
    assert len(build_discriminators(None, PERIOD).discriminators) == 2
    with pytest.raises(ValueError, match="no discriminator is configured; set msstftd, msd"):
        build_discriminators()


def test_they_learn_to_tell_a_buzz_from_noise():
    judge, (real, fake) = adversary(), sounds()
    rng = np.random.default_rng(0)
    losses = [judge.update(real, fake, step, rng)["d"] for step in range(30)]
    assert losses[-1] < 0.7 * losses[0]
    with torch.no_grad():
        (real_logits, _), (fake_logits, _) = judge.discriminator(real), judge.discriminator(fake)
    assert all(a.mean() > b.mean() for a, b in zip(real_logits, fake_logits, strict=True))


def test_their_terms_teach_the_codec_and_not_themselves():
    judge, (real, fake) = adversary(), sounds()
    fake = fake.clone().requires_grad_()
    terms = judge.terms(real, fake)
    assert set(terms) == {"g", "feat"}
    for term in terms.values():
        (grad,) = torch.autograd.grad(term, fake, retain_graph=True)
        assert float(grad.abs().max()) > 0
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is None and p.requires_grad for p in judge.discriminator.parameters())
    assert float(judge.terms(real, real)["feat"]) == 0


def test_with_a_chance_they_rest_at_some_steps():
    judge, (real, fake) = adversary(chance=0.5), sounds()
    rng = np.random.default_rng(0)
    learned = [bool(judge.update(real, fake, step, rng)) for step in range(30)]
    assert 8 <= sum(learned) <= 22
