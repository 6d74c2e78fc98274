"""SoundStream's discriminators (lip2speech/discriminators/msd.py): sizes and what they hear."""

import pytest
import torch
from torch import Tensor, nn

from lip2speech.discriminators.msd import STFTD, MSDConfig, STFTDConfig, wave_discriminators


def noise(batch: int, samples: int) -> Tensor:
    return torch.randn(batch, 1, samples, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_every_resolution_of_the_wave_judges_every_item(batch):
    logits, maps = wave_discriminators(MSDConfig(filters=4, max_filters=16))(noise(batch, 2048))
    assert [tuple(x.shape) for x in logits] == [(batch, 1, n) for n in (8, 4, 2)]  # 2048 / 4^4, halved twice
    assert [x.shape[1] for x in maps[0]] == [4, 16, 16, 16, 16, 16]


def test_the_wave_discriminator_has_the_papers_channels_and_groups():
    convs = [m for m in wave_discriminators(MSDConfig()).scales[0].modules() if isinstance(m, nn.Conv1d)]
    channels = [(c.in_channels, c.out_channels, c.in_channels // c.groups) for c in convs]
    grouped = [(16, 64, 4), (64, 256, 4), (256, 1024, 4), (1024, 1024, 4)]
    assert channels == [(1, 16, 1), *grouped, (1024, 1024, 1024), (1024, 1, 1024)]


def test_lower_resolutions_hear_no_high_pitch():
    time = torch.arange(4096.0)
    high = torch.stack([torch.sin(torch.pi * 0.99 * time), 0 * time])[:, None]  # next to the highest pitch
    _, maps = wave_discriminators(MSDConfig(filters=4, max_filters=16))(high)
    loud, soft = (float((m[0][0] - m[0][1]).abs().mean().detach()) for m in (maps[0], maps[2]))
    assert soft < 0.05 * loud


@pytest.mark.parametrize("frames", [8, 9, 20])
def test_the_stft_discriminator_halves_time_three_times_and_frequency_six(frames):
    config = STFTDConfig(filters=2, n_fft=256, hop_length=64)
    logits, maps = STFTD(config)(noise(2, 64 * (frames - 1)))
    assert logits.shape == (2, 1, frames // 8)
    assert maps[0].shape == (2, 2, frames, 128)
    assert maps[-1].shape == (2, 32, frames // 8, 2)
    assert [m.shape[1] for m in maps] == [2, 4, 8, 8, 16, 16, 32]


def test_the_stft_discriminator_sees_phase():
    torch.manual_seed(0)
    judge, x = (
        STFTD(STFTDConfig(filters=2, n_fft=256, hop_length=64)),
        noise(1, 2048),
    )
    assert not torch.allclose(judge(x)[0], judge(-x)[0])  # the same magnitudes


def test_sizes_that_cannot_be_built_are_refused():
    with pytest.raises(ValueError, match="filters and max_filters must be multiples of 4, got 6 and 1024"):
        MSDConfig(filters=6)
    with pytest.raises(ValueError, match="n_fft must be a multiple of 128, got 320"):
        STFTDConfig(n_fft=320)
