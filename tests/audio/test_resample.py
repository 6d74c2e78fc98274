"""Resampling in one pass and streaming (lip2speech/audio/resample.py)."""

import pytest
import torch

from lip2speech.audio.resample import Resampler, resample

RATES = [(44_100, 16_000), (48_000, 16_000), (16_000, 24_000), (8_000, 16_000), (44_099, 16_000), (7, 16_000)]


@pytest.mark.parametrize(("rate", "new_rate"), RATES)
@pytest.mark.parametrize("n_blocks", [1, 37, 300])
def test_streaming_equals_one_pass(rate: int, new_rate: int, n_blocks: int) -> None:
    wav = torch.randn(min(rate, 5_000), generator=torch.Generator().manual_seed(0))
    resampler, state, blocks = Resampler(rate, new_rate), None, []
    for block in wav.split(-(-len(wav) // n_blocks)):
        y, state = resampler.step(block, state)
        blocks.append(y)
    blocks.append(resampler.step(wav[:0], state, last=True)[0])
    whole = resample(wav, rate, new_rate)
    assert torch.cat(blocks).shape == whole.shape
    torch.testing.assert_close(torch.cat(blocks), whole, atol=2e-6, rtol=0)


def test_the_state_does_not_grow() -> None:
    resampler, state, lengths = Resampler(44_100, 16_000), None, []
    for _ in range(20):
        _, state = resampler.step(torch.zeros(4410), state)
        lengths.append(len(state))
    assert max(lengths) < 3 * resampler.margin


def test_the_same_rate_returns_the_input() -> None:
    wav = torch.randn(10)
    assert Resampler(16_000, 16_000).step(wav)[0] is wav
