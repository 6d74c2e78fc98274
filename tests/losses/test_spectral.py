"""Mel loss and multi-resolution waveform losses (lip2speech/losses/spectral.py)."""

import math

import pytest
import torch

from lip2speech.losses import MultiResolutionSTFTLoss, MultiScaleMelLoss, mel_loss
from tests.factories import synthetic_voice
from tests.losses.helpers import noise, valid_mask


def test_mel_loss_of_equal_mels_is_0_and_of_twice_the_mel_is_1() -> None:
    target = noise(2, 4, 6)
    assert [float(x) for x in mel_loss(target, target, valid_mask([6, 6], 6))] == [0.0, 0.0]
    l1, convergence = mel_loss(2 * target, target, valid_mask([6, 6], 6))
    assert float(l1) == pytest.approx(float(target.abs().mean()))
    assert float(convergence) == pytest.approx(1.0)


def test_mel_loss_ignores_padding() -> None:
    target = noise(2, 4, 6)
    corrupted = target.clone()
    corrupted[1, :, 4:] = 1e3
    mask = valid_mask([6, 4], 6)
    for a, b in zip(
        mel_loss(target + 1, target, mask), mel_loss(corrupted + 1, corrupted, mask), strict=True
    ):
        torch.testing.assert_close(a, b)
    assert float(mel_loss(target + 1, target, mask)[0]) == pytest.approx(1.0)


def test_stft_loss_of_equal_audio_is_0() -> None:
    wav = synthetic_voice(4, 150.0)[None, None]
    assert float(MultiResolutionSTFTLoss(16_000)(wav, wav)) == 0.0


def test_stft_loss_depends_on_pitch_and_level_but_not_on_phase() -> None:
    spectral, wav = MultiResolutionSTFTLoss(16_000), synthetic_voice(10, 150.0)[None, None]
    flipped = float(spectral(-wav, wav))
    louder, higher = (
        float(spectral(2 * wav, wav)),
        float(spectral(synthetic_voice(10, 190.0)[None, None], wav)),
    )
    assert flipped < 1e-4
    # log-mel and half a log-magnitude at 6 dB, where both are above their floors; half of a convergence of 1
    assert 0.5 < louder < 1.5 * math.log(2) + 0.5 + 1e-3
    assert higher > 0.5


def test_stft_loss_of_silence_has_a_finite_gradient() -> None:
    wav = torch.zeros(1, 1, 4000, requires_grad=True)
    MultiResolutionSTFTLoss(16_000)(wav, synthetic_voice(7, 150.0)[None, None, :4000]).backward()
    assert wav.grad is not None
    assert torch.isfinite(wav.grad).all()


def test_multi_scale_mel_loss_is_the_papers_sum_over_windows() -> None:
    mel, wav, other = (
        MultiScaleMelLoss(16_000),
        synthetic_voice(5, 150.0)[None, None],
        synthetic_voice(5, 180.0)[None, None],
    )
    terms = []
    for s in (64, 128, 256, 512, 1024, 2048):
        a, b = mel.mel(wav, s)[0], mel.mel(other, s)[0]
        logs = a.clamp_min(1e-5).log() - b.clamp_min(1e-5).log()
        l2 = sum(float(frame.norm()) / math.sqrt(len(frame)) for frame in logs) / len(logs)
        terms.append(float((a - b).abs().mean()) + math.sqrt(s / 2) / math.sqrt(2048 / 2) * l2)
    assert float(mel(wav, other)) == pytest.approx(sum(terms) / 6, rel=1e-4)


def test_multi_scale_mel_loss_depends_on_pitch_but_not_on_phase() -> None:
    mel, wav = MultiScaleMelLoss(16_000), synthetic_voice(10, 150.0)[None, None]
    assert float(mel(wav, wav)) < 1e-5
    assert float(mel(-wav, wav)) < 1e-3
    assert float(mel(synthetic_voice(10, 190.0)[None, None], wav)) > 0.2
    assert float(mel(2 * wav, wav)) > 0.2


def test_multi_scale_mel_loss_of_silence_has_a_finite_gradient() -> None:
    wav = torch.zeros(1, 1, 4000, requires_grad=True)
    MultiScaleMelLoss(16_000)(wav, synthetic_voice(7, 150.0)[None, None, :4000]).backward()
    assert wav.grad is not None
    assert torch.isfinite(wav.grad).all()
