"""ESTOI loss on log-mels (lip2speech/losses/estoi.py)."""

import math

import pytest
import torch
from torch import Tensor

from lip2speech.audio.mel import LogMel, MelConfig
from lip2speech.losses import ESTOILoss
from lip2speech.losses.estoi import third_octave_bands
from lip2speech.models.prediction import Prediction
from lip2speech.vocoders import GriffinLim
from tests.losses.helpers import noise, valid_mask


def modulated(*, flat: float = 0.0) -> Tensor:
    """A log-mel (1, 80, 300), each band modulated at its rate; `flat` 1 removes the modulation."""
    time, band = torch.arange(300)[None, None] / 100, torch.arange(80)[None, :, None]
    return -4 + (1 - flat) * torch.sin(2 * math.pi * (2 + band / 20) * time + band)


def test_the_loss_of_equal_mels_is_0_at_any_level() -> None:
    loss_fn, mel = ESTOILoss(MelConfig()), modulated()
    mask = valid_mask([300], 300)
    assert float(loss_fn(mel, mel, mask)) == pytest.approx(0.0, abs=1e-3)
    assert float(loss_fn(mel + 1, mel, mask)) == pytest.approx(0.0, abs=1e-3)
    assert float(loss_fn(-8 - mel, mel, mask)) > 1.2  # inverted modulation: negative correlation
    assert 0.8 < float(loss_fn(modulated(flat=1.0), mel, mask)) <= 1.0  # a flat mel has none


def test_a_flat_mel_learns_the_modulation_of_the_target() -> None:
    loss_fn, target, mask = ESTOILoss(MelConfig()), modulated(), valid_mask([300], 300)
    predicted = (modulated(flat=1.0) + 0.1 * noise(1, 80, 300)).requires_grad_()
    adam = torch.optim.Adam([predicted], lr=0.1)
    for _ in range(20):
        adam.zero_grad()
        loss_fn(predicted, target, mask).backward()
        adam.step()
    assert float(loss_fn(predicted.detach(), target, mask)) < 0.3


def test_padding_and_silence_are_ignored() -> None:
    loss_fn, mel = ESTOILoss(MelConfig()), modulated()
    predicted = mel + noise(1, 80, 300)
    alone = loss_fn(predicted[..., :200], mel[..., :200], valid_mask([200], 200))
    corrupted = predicted.clone()
    corrupted[..., 200:] = noise(1, 80, 100, seed=1)
    assert float(loss_fn(corrupted, mel, valid_mask([200], 300))) == pytest.approx(float(alone), rel=1e-5)
    silent = mel.clone()
    silent[..., 200:] = math.log(1e-5) + 0.1 * noise(1, 80, 100, seed=2)
    loss = loss_fn(corrupted, silent, valid_mask([300], 300))
    assert float(loss) == pytest.approx(float(alone), abs=0.1)  # only the segments at the border differ


def test_the_loss_of_too_short_a_clip_is_0_and_has_no_gradient() -> None:
    loss_fn = ESTOILoss(MelConfig())
    for steps, valid in ((100, 0), (100, 20), (20, 20)):  # no valid frame, and less than one segment
        predicted = noise(1, 80, steps).requires_grad_()
        loss = loss_fn(predicted, noise(1, 80, steps, seed=1), valid_mask([valid], steps))
        loss.backward()
        assert loss.item() == 0.0
        assert predicted.grad is not None
        assert not predicted.grad.any()


def test_noisy_audio_is_ranked_as_by_estoi() -> None:
    from pystoi import stoi

    mel, loss_fn = LogMel(MelConfig()), ESTOILoss(MelConfig())
    clean = GriffinLim()(Prediction(mel=modulated()))[0, 0]
    ours, theirs = [], []
    for level in (0.0, 0.03, 0.1, 0.3, 1.0, 3.0):
        noisy = clean + level * clean.std() * noise(len(clean))
        pair = mel(noisy[None, None]), mel(clean[None, None])
        ours.append(1 - float(loss_fn(*pair, valid_mask([300], 300))))
        theirs.append(float(stoi(clean.numpy(), noisy.numpy(), 16_000, extended=True)))
    assert ours == sorted(ours, reverse=True)
    assert theirs == sorted(theirs, reverse=True)
    assert torch.corrcoef(torch.tensor([ours, theirs]))[0, 1] > 0.9


def test_third_octave_bands_cover_the_mel_bands_in_order() -> None:
    bands = third_octave_bands(MelConfig(), 150.0, 15)
    assert bands.shape == (15, 80)
    assert bool((bands >= 0).all())
    assert bool((bands.sum(1) > 0).all())
    peaks = bands.argmax(1).tolist()
    assert peaks == sorted(peaks)
