"""Multi-scale waveform discriminator (lip2speech/discriminators/msd.py): sizes and downsampling."""

import pytest
import torch
from torch import Tensor, nn

from lip2speech.discriminators.msd import MSDConfig, MultiScaleDiscriminator

TINY = MSDConfig(filters=4, max_filters=16)


def noise(batch: int, samples: int) -> Tensor:
    return torch.randn(batch, 1, samples, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_every_scale_gives_logits_for_every_item(batch: int) -> None:
    logits, features = MultiScaleDiscriminator(TINY)(noise(batch, 2048))
    assert [tuple(x.shape) for x in logits] == [(batch, 1, n) for n in (8, 4, 2)]  # 2048 / 4^4, halved twice
    assert [x.shape[1] for x in features[0]] == [4, 16, 16, 16, 16, 16]


def test_the_defaults_have_the_papers_channels_and_groups() -> None:
    first = MultiScaleDiscriminator(MSDConfig()).discriminators[0]
    convs = [m for m in first.modules() if isinstance(m, nn.Conv1d)]
    channels = [(c.in_channels, c.out_channels, c.in_channels // c.groups) for c in convs]
    grouped = [(16, 64, 4), (64, 256, 4), (256, 1024, 4), (1024, 1024, 4)]
    assert channels == [(1, 16, 1), *grouped, (1024, 1024, 1024), (1024, 1, 1024)]


def test_lower_resolutions_contain_no_high_frequencies() -> None:
    time = torch.arange(4096.0)
    high = torch.stack([torch.sin(torch.pi * 0.99 * time), 0 * time])[:, None]  # close to Nyquist, silence
    _, features = MultiScaleDiscriminator(TINY)(high)
    full, quarter = (float((m[0][0] - m[0][1]).abs().mean().detach()) for m in (features[0], features[2]))
    assert quarter < 0.05 * full


def test_sizes_that_cannot_be_built_are_refused() -> None:
    with pytest.raises(ValueError, match="filters and max_filters must be multiples of 4, got 6 and 1024"):
        MSDConfig(filters=6)
