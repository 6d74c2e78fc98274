"""STFT discriminator of SoundStream (lip2speech/discriminators/stftd.py): strides and phase."""

import pytest
import torch
from torch import Tensor

from lip2speech.discriminators.stftd import STFTDConfig, STFTDiscriminator

TINY = STFTDConfig(filters=2, n_fft=256, hop_length=64)


def noise(batch: int, samples: int) -> Tensor:
    return torch.randn(batch, 1, samples, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("frames", [8, 9, 20])
def test_time_is_halved_three_times_and_frequency_six_times(frames: int) -> None:
    [logits], [features] = STFTDiscriminator(TINY)(noise(2, 64 * (frames - 1)))
    assert logits.shape == (2, 1, frames // 8)
    assert features[0].shape == (2, 2, frames, 128)
    assert features[-1].shape == (2, 32, frames // 8, 2)
    assert [m.shape[1] for m in features] == [2, 4, 8, 8, 16, 16, 32]


def test_the_logits_depend_on_phase() -> None:
    torch.manual_seed(0)
    discriminator, x = STFTDiscriminator(TINY), noise(1, 2048)
    assert not torch.allclose(discriminator(x)[0][0], discriminator(-x)[0][0])  # equal magnitudes


def test_sizes_that_cannot_be_built_are_refused() -> None:
    with pytest.raises(ValueError, match="n_fft must be a multiple of 128, got 320"):
        STFTDConfig(n_fft=320)
