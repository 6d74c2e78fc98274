"""Losses of all training tasks (lip2speech/losses/core.py)."""

import math

import pytest
import torch
from torch import Tensor

from lip2speech.audio.mel import LogMel, MelConfig
from lip2speech.losses.core import (
    ESTOILoss,
    MultiResolutionSTFTLoss,
    MultiScaleMelLoss,
    adversarial_loss,
    best_lags,
    discriminator_loss,
    feature_loss,
    mel_loss,
    pitch_loss,
    shifted,
    si_sdr,
    text_loss,
    third_octaves,
    token_loss,
)
from lip2speech.models.prediction import Prediction
from lip2speech.vocoders import GriffinLim
from tests.factories import buzz


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def keep(lengths: list[int], steps: int) -> Tensor:
    return (torch.arange(steps)[None] < torch.tensor(lengths)[:, None]).float().unsqueeze(1)


def test_a_target_is_read_later_or_earlier_with_its_edges_repeated() -> None:
    target = torch.tensor([[0, 1, 2, 3], [0, 1, 2, 3]])
    assert shifted(target, torch.tensor([1, -2])).tolist() == [[1, 2, 3, 3], [0, 0, 0, 1]]


def test_padding_is_never_read_as_a_target() -> None:
    target = torch.tensor([[[0, 1, 2, -100, -100]], [[0, 1, 2, 3, 4]]])
    moved = shifted(target, torch.tensor([2, 2]), torch.tensor([3, 5]))
    assert moved.tolist() == [[[2, 2, 2, -100, -100]], [[2, 3, 4, 4, 4]]]


@pytest.mark.parametrize("shape", [(2, 9), (2, 3, 9), (2, 3, 4, 9)])
def test_no_lag_changes_nothing(shape: tuple[int, ...]) -> None:
    target = noise(*shape)
    assert torch.equal(shifted(target, torch.zeros(2, dtype=torch.long)), target)


def test_a_known_lag_is_found_for_each_clip() -> None:
    target = noise(4, 5, 40)
    lags = torch.tensor([-3, 0, 2, 6])
    predicted = shifted(target, lags)
    found = best_lags(predicted, target, keep([40] * 4, 40), max_lag=6, price=0.002)
    assert torch.equal(found, lags)


def test_the_lag_of_a_short_clip_is_not_led_by_its_padding() -> None:
    target = torch.cat([noise(2, 5, 20), torch.full((2, 5, 20), 50.0)], 2)
    lengths, lags = torch.tensor([20, 20]), torch.tensor([4, -4])
    predicted = shifted(target, lags, lengths)
    assert torch.equal(best_lags(predicted, target, keep([20, 20], 40), max_lag=6, price=0.0), lags)


def test_a_lag_must_be_worth_its_price() -> None:
    target = torch.ones(1, 3, 10) + 1e-3 * noise(1, 3, 10)
    predicted = shifted(target, torch.tensor([2]))
    assert best_lags(predicted, target, keep([10], 10), max_lag=3, price=0.1).item() == 0


def test_a_lag_has_no_gradient() -> None:
    predicted = noise(1, 3, 10).requires_grad_()
    assert not best_lags(
        predicted, noise(1, 3, 10, seed=1), keep([10], 10), max_lag=2, price=0.0
    ).requires_grad


def test_mel_loss_of_equals_is_0_and_of_double_is_1() -> None:
    target = noise(2, 4, 6)
    assert [float(x) for x in mel_loss(target, target, keep([6, 6], 6))] == [0.0, 0.0]
    l1, convergence = mel_loss(2 * target, target, keep([6, 6], 6))
    assert float(l1) == pytest.approx(float(target.abs().mean()))
    assert float(convergence) == pytest.approx(1.0)


def test_mel_loss_does_not_see_padding() -> None:
    target = noise(2, 4, 6)
    spoilt = target.clone()
    spoilt[1, :, 4:] = 1e3
    mask = keep([6, 4], 6)
    for a, b in zip(mel_loss(target + 1, target, mask), mel_loss(spoilt + 1, spoilt, mask), strict=True):
        torch.testing.assert_close(a, b)
    assert float(mel_loss(target + 1, target, mask)[0]) == pytest.approx(1.0)


def test_token_loss_does_not_see_ignored_tokens() -> None:
    logits = noise(1, 5, 4)
    tokens = torch.tensor([[1, 3, -100, -100]])
    loss, hits = token_loss(logits, tokens)
    shorter, shorter_hits = token_loss(logits[..., :2], tokens[:, :2])
    assert (float(loss), float(hits)) == pytest.approx((float(shorter), float(shorter_hits)))


def test_token_loss_of_an_even_guess_is_the_log_of_their_number() -> None:
    loss, _ = token_loss(torch.zeros(2, 8, 3), torch.zeros(2, 3, dtype=torch.long), smoothing=0.0)
    assert float(loss) == pytest.approx(math.log(8))


def test_token_loss_counts_hits() -> None:
    logits = torch.eye(3)[None] * 10  # (1, K, T): the best of step t is t
    assert float(token_loss(logits, torch.tensor([[0, 1, 0]]))[1]) == pytest.approx(2 / 3)


def test_token_loss_of_several_books_is_their_mean() -> None:
    logits, tokens = noise(2, 5, 3, 4), torch.randint(5, (2, 3, 4))
    loss, _ = token_loss(logits, tokens)
    books = [float(token_loss(logits[:, :, i], tokens[:, i])[0]) for i in range(3)]
    assert float(loss) == pytest.approx(sum(books) / 3, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_token_loss_of_a_smaller_book_is_what_it_is_alone(smoothing: float) -> None:
    small, large = noise(2, 3, 4).requires_grad_(), noise(2, 5, 4, seed=1)
    padded = torch.nn.functional.pad(small, (0, 0, 0, 2), value=-torch.inf)
    tokens = torch.tensor([[[0, 2, 1, -100], [4, 3, 2, -100]]]).expand(2, -1, -1)
    both, _ = token_loss(torch.stack([padded, large], 2), tokens, smoothing=smoothing)
    alone = [token_loss(x, tokens[:, i], smoothing=smoothing)[0].item() for i, x in enumerate((small, large))]
    assert both.item() == pytest.approx(sum(alone) / 2, rel=1e-5)
    both.backward()
    assert small.grad is not None and small.grad.isfinite().all() and small.grad.any()


def test_token_loss_without_a_token_is_0_and_teaches_nothing() -> None:
    logits = noise(1, 5, 4).requires_grad_()
    loss, hits = token_loss(logits, torch.full((1, 4), -100))
    loss.backward()
    assert (loss.item(), hits.item()) == (0.0, 0.0)
    assert logits.grad is not None and not logits.grad.any()


def test_text_loss_sums_over_every_way_of_saying_the_text() -> None:
    logits = noise(1, 3, 4)
    p = logits[0].softmax(-1)
    ways = [(1, 2, 2), (1, 1, 2), (0, 1, 2), (1, 0, 2), (1, 2, 0)]  # "ab" in three steps, 0 is the blank
    likelihood = sum(float(p[0, i] * p[1, j] * p[2, k]) for i, j, k in ways)
    loss = text_loss(logits, torch.tensor([3]), torch.tensor([[1, 2]]))
    assert float(loss) == pytest.approx(-math.log(likelihood) / 2, rel=1e-5)  # per letter


def test_text_loss_sees_neither_padding_nor_clips_without_a_text() -> None:
    logits = noise(3, 6, 4)
    text = torch.tensor([[1, 2, 3], [2, -100, -100], [-100, -100, -100]])
    loss = text_loss(logits, torch.tensor([6, 4, 6]), text)
    alone = [
        text_loss(logits[:1], torch.tensor([6]), text[:1]),
        text_loss(logits[1:2, :4], torch.tensor([4]), text[1:2, :1]),
    ]
    assert float(loss) == pytest.approx(float(sum(alone)) / 2, rel=1e-5)


def test_text_loss_is_0_where_nothing_is_told_or_the_text_is_too_long() -> None:
    logits = noise(1, 2, 4).requires_grad_()
    for text in (torch.full((1, 3), -100), torch.zeros(1, 0, dtype=torch.long), torch.tensor([[1, 2, 3]])):
        loss = text_loss(logits, torch.tensor([2]), text)
        loss.backward()
        assert loss.item() == 0.0
    assert logits.grad is not None and not logits.grad.any()


def modulated(*, flat: float = 0.0) -> Tensor:
    """A log-mel (1, 80, 300) whose bands rise and fall, each in its own time, `flat` of it lost."""
    time, band = torch.arange(300)[None, None] / 100, torch.arange(80)[None, :, None]
    return -4 + (1 - flat) * torch.sin(2 * math.pi * (2 + band / 20) * time + band)


def test_band_correlation_is_0_for_equals_whatever_their_level() -> None:
    bands, mel = ESTOILoss(MelConfig()), modulated()
    mask = keep([300], 300)
    assert float(bands(mel, mel, mask)) == pytest.approx(0.0, abs=1e-3)
    assert float(bands(mel + 1, mel, mask)) == pytest.approx(0.0, abs=1e-3)
    assert float(bands(-8 - mel, mel, mask)) > 1.2  # the falls where rises are: correlation below 0
    assert 0.8 < float(bands(modulated(flat=1.0), mel, mask)) <= 1.0  # a flat track has none


def test_band_correlation_teaches_a_mel_to_rise_and_fall() -> None:
    bands, target, mask = ESTOILoss(MelConfig()), modulated(), keep([300], 300)
    predicted = (modulated(flat=1.0) + 0.1 * noise(1, 80, 300)).requires_grad_()
    adam = torch.optim.Adam([predicted], lr=0.1)
    for _ in range(20):
        adam.zero_grad()
        bands(predicted, target, mask).backward()
        adam.step()
    assert float(bands(predicted.detach(), target, mask)) < 0.3


def test_band_correlation_sees_neither_padding_nor_silence() -> None:
    bands, mel = ESTOILoss(MelConfig()), modulated()
    predicted = mel + noise(1, 80, 300)
    alone = bands(predicted[..., :200], mel[..., :200], keep([200], 200))
    spoilt = predicted.clone()
    spoilt[..., 200:] = noise(1, 80, 100, seed=1)
    assert float(bands(spoilt, mel, keep([200], 300))) == pytest.approx(float(alone), rel=1e-5)
    silent = mel.clone()
    silent[..., 200:] = math.log(1e-5) + 0.1 * noise(1, 80, 100, seed=2)
    whole = bands(spoilt, silent, keep([300], 300))
    assert float(whole) == pytest.approx(float(alone), abs=0.1)  # only the stretches on the border differ


def test_band_correlation_of_nothing_is_0_and_teaches_nothing() -> None:
    bands = ESTOILoss(MelConfig())
    for steps, kept in ((100, 0), (100, 20), (20, 20)):  # nothing, and less than one stretch
        predicted = noise(1, 80, steps).requires_grad_()
        loss = bands(predicted, noise(1, 80, steps, seed=1), keep([kept], steps))
        loss.backward()
        assert loss.item() == 0.0 and predicted.grad is not None and not predicted.grad.any()


def test_band_correlation_orders_sounds_as_estoi_does() -> None:
    from pystoi import stoi

    mel, bands = LogMel(MelConfig()), ESTOILoss(MelConfig())
    clean = GriffinLim()(Prediction(mel=modulated()))[0, 0]
    ours, theirs = [], []
    for level in (0.0, 0.03, 0.1, 0.3, 1.0, 3.0):
        noisy = clean + level * clean.std() * noise(len(clean))
        pair = mel(noisy[None, None]), mel(clean[None, None])
        ours.append(1 - float(bands(*pair, keep([300], 300))))
        theirs.append(float(stoi(clean.numpy(), noisy.numpy(), 16_000, extended=True)))
    assert ours == sorted(ours, reverse=True) and theirs == sorted(theirs, reverse=True), (ours, theirs)
    assert torch.corrcoef(torch.tensor([ours, theirs]))[0, 1] > 0.9


def test_third_octaves_share_out_the_mel_bands() -> None:
    bands = third_octaves(MelConfig(), 150.0, 15)
    assert bands.shape == (15, 80) and bool((bands >= 0).all()) and bool((bands.sum(1) > 0).all())
    peaks = bands.argmax(1).tolist()
    assert peaks == sorted(peaks)


def test_equal_sounds_have_no_spectral_loss() -> None:
    wav = buzz(4, 150.0)[None, None]
    assert float(MultiResolutionSTFTLoss(16_000)(wav, wav)) == 0.0


def test_spectral_loss_hears_pitch_and_level_but_not_phase() -> None:
    spectral, wav = MultiResolutionSTFTLoss(16_000), buzz(10, 150.0)[None, None]
    flipped = float(spectral(-wav, wav))
    louder, higher = float(spectral(2 * wav, wav)), float(spectral(buzz(10, 190.0)[None, None], wav))
    assert flipped < 1e-4
    # log-mel and half a log-magnitude at 6 dB, where both are above their floors; half of a convergence of 1
    assert 0.5 < louder < 1.5 * math.log(2) + 0.5 + 1e-3
    assert higher > 0.5


def test_spectral_loss_of_silence_has_a_finite_gradient() -> None:
    wav = torch.zeros(1, 1, 4000, requires_grad=True)
    MultiResolutionSTFTLoss(16_000)(wav, buzz(7, 150.0)[None, None, :4000]).backward()
    assert wav.grad is not None and torch.isfinite(wav.grad).all()


def test_multi_scale_mel_is_the_papers_sum_over_windows() -> None:
    mel, wav, other = MultiScaleMelLoss(16_000), buzz(5, 150.0)[None, None], buzz(5, 180.0)[None, None]
    terms = []
    for s in (64, 128, 256, 512, 1024, 2048):
        a, b = mel.mel(wav, s)[0], mel.mel(other, s)[0]
        logs = a.clamp_min(1e-5).log() - b.clamp_min(1e-5).log()
        l2 = sum(float(frame.norm()) / math.sqrt(len(frame)) for frame in logs) / len(logs)
        terms.append(float((a - b).abs().mean()) + math.sqrt(s / 2) / math.sqrt(2048 / 2) * l2)
    assert float(mel(wav, other)) == pytest.approx(sum(terms) / 6, rel=1e-4)


def test_multi_scale_mel_hears_pitch_but_not_phase() -> None:
    mel, wav = MultiScaleMelLoss(16_000), buzz(10, 150.0)[None, None]
    assert float(mel(wav, wav)) < 1e-5
    assert float(mel(-wav, wav)) < 1e-3
    assert float(mel(buzz(10, 190.0)[None, None], wav)) > 0.2
    assert float(mel(2 * wav, wav)) > 0.2


def test_multi_scale_mel_of_silence_has_a_finite_gradient() -> None:
    wav = torch.zeros(1, 1, 4000, requires_grad=True)
    MultiScaleMelLoss(16_000)(wav, buzz(7, 150.0)[None, None, :4000]).backward()
    assert wav.grad is not None and torch.isfinite(wav.grad).all()


def test_si_sdr_has_its_known_values_at_any_level() -> None:
    time = torch.arange(1600) / 1600
    signal, other = torch.sin(40 * math.pi * time), torch.sin(60 * math.pi * time)
    target = torch.stack([signal, signal, signal])[:, None]
    wav = torch.stack([signal + other, 7 * (signal + 0.1 * other), -signal + 0.01 * other])[:, None]
    assert si_sdr(wav, target).tolist() == pytest.approx([0.0, 20.0, 40.0], abs=1e-2)


def test_hinge_losses_have_their_known_values() -> None:
    real, fake = [torch.tensor([2.0, 0.5])], [torch.tensor([-2.0, 0.5])]
    assert float(discriminator_loss(real, fake)) == pytest.approx((0 + 0.5) / 2 + (0 + 1.5) / 2)
    assert float(adversarial_loss(fake)) == pytest.approx((3 + 0.5) / 2)
    assert float(discriminator_loss(real * 2, fake * 2)) == pytest.approx(1.0)  # the mean over scales


def test_feature_loss_is_relative_to_the_real_map() -> None:
    real = [[torch.full((1, 2), 4.0)], [torch.full((1, 2), 0.5)]]
    fake = [[torch.full((1, 2), 5.0)], [torch.full((1, 2), 0.5)]]
    assert float(feature_loss(real, fake)) == pytest.approx((1 / 4 + 0) / 2)
    assert float(feature_loss(real, real)) == 0.0


def test_pitch_counts_where_it_is_voiced_and_kept() -> None:
    target = torch.zeros(1, 2, 4)
    target[0, 1] = torch.tensor([1.0, 1.0, 0.0, 1.0])
    predicted = torch.tensor([[[0.5, 0.0, 9.0, 9.0], [20.0, 20.0, -20.0, -20.0]]])
    keep = torch.tensor([[[1.0, 1.0, 1.0, 0.0]]])
    octaves, voicing = pitch_loss(predicted, target, keep)
    assert octaves == pytest.approx(0.25) and voicing == pytest.approx(0.0, abs=1e-6)
