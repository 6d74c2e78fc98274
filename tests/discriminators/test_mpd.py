"""HiFi-GAN's multi-period discriminator (lip2speech/discriminators/mpd.py): folding by period and shapes."""

import pytest
import torch
from torch import Tensor, nn

from lip2speech.discriminators.mpd import (
    MPDConfig,
    MultiPeriodDiscriminator,
    PeriodDiscriminator,
    fold_by_period,
)

SMALL = MPDConfig(filters=2, max_filters=8)


def noise(batch: int, samples: int) -> Tensor:
    return torch.randn(batch, 1, samples, generator=torch.Generator().manual_seed(0))


def fold_by_hand(wav: Tensor, period: int) -> Tensor:
    """Sample n goes to row n // period, column n % period."""
    samples = wav[0, 0].tolist()
    last = len(samples) - 1
    while len(samples) % period:
        samples.append(samples[2 * last - len(samples)])  # reflected at the last sample
    rows = torch.zeros(len(samples) // period, period)
    for n, value in enumerate(samples):
        rows[n // period, n % period] = value
    return rows[None, None]


@pytest.mark.parametrize("period", [2, 3, 5, 7, 11])
def test_an_impulse_train_of_the_period_falls_into_one_column(period: int) -> None:
    wav = torch.zeros(1, 1, 20 * period)
    wav[..., 1::period] = 1.0
    rows = fold_by_period(wav, period)[0, 0]
    assert rows.shape == (20, period)
    assert torch.equal(rows.sum(0), 20.0 * torch.eye(period)[1])


@pytest.mark.parametrize("period", [2, 3, 5, 7, 11])
@pytest.mark.parametrize("samples", [44, 47, 54])
def test_folding_matches_a_loop_over_samples(period: int, samples: int) -> None:
    wav = noise(1, samples)
    assert torch.equal(fold_by_period(wav, period), fold_by_hand(wav, period))


def test_a_logit_depends_on_its_own_column_only() -> None:
    torch.manual_seed(0)
    discriminator, wav = PeriodDiscriminator(SMALL, 5), noise(1, 400)
    other = wav.clone()
    other[..., 2::5] += 1.0
    changed = (discriminator(wav)[0] - discriminator(other)[0]).abs().amax((0, 1, 2))
    assert torch.equal(changed > 0, torch.tensor([False, False, True, False, False]))


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_every_period_gives_logits_for_every_item(batch: int) -> None:
    logits, features = MultiPeriodDiscriminator(SMALL)(noise(batch, 1000))
    # ceil(1000 / period) rows, divided by 3 and rounded up by each of four strides
    assert [tuple(x.shape) for x in logits] == [
        (batch, 1, rows, p) for p, rows in ((2, 7), (3, 5), (5, 3), (7, 2), (11, 2))
    ]
    assert [x.shape[1] for x in features[0]] == [2, 8, 8, 8, 8]


def test_the_defaults_have_the_papers_channels_and_strides() -> None:
    with torch.device("meta"):
        discriminator = PeriodDiscriminator(MPDConfig(), 2)
    convs = [m for m in discriminator.modules() if isinstance(m, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels) for c in convs] == [
        (1, 32), (32, 128), (128, 512), (512, 1024), (1024, 1024), (1024, 1)
    ]  # fmt: skip
    assert [c.kernel_size for c in convs] == [(5, 1)] * 5 + [(3, 1)]
    assert [c.stride for c in convs] == [(3, 1)] * 4 + [(1, 1)] * 2


@pytest.mark.parametrize("numbers", [{"periods": ()}, {"periods": (1, 3)}, {"layers": 0}])
def test_sizes_that_cannot_be_built_are_refused(numbers: dict) -> None:
    with pytest.raises(ValueError, match="periods must be 2 or more, at least one; filters"):
        MPDConfig(**numbers)
