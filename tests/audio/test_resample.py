"""Sample rates, whole and in pieces (lip2speech/audio/resample.py)."""

import pytest
import torch

from lip2speech.audio.resample import Resampler, resample

RATES = [(44_100, 16_000), (48_000, 16_000), (16_000, 24_000), (8_000, 16_000), (44_099, 16_000), (7, 16_000)]


@pytest.mark.parametrize(("rate", "new_rate"), RATES)
@pytest.mark.parametrize("pieces", [1, 37, 5000])
def test_pieces_give_what_the_whole_gives(rate: int, new_rate: int, pieces: int) -> None:
    wav = torch.randn(min(rate, 12_345), generator=torch.Generator().manual_seed(0))
    resampler, state, found = Resampler(rate, new_rate), None, []
    for piece in wav.split(-(-len(wav) // pieces)):
        y, state = resampler.step(piece, state)
        found.append(y)
    found.append(resampler.step(wav[:0], state, last=True)[0])
    whole = resample(wav, rate, new_rate)
    assert torch.cat(found).shape == whole.shape
    torch.testing.assert_close(torch.cat(found), whole, atol=2e-6, rtol=0)


def test_what_is_held_does_not_grow() -> None:
    resampler, state, held = Resampler(44_100, 16_000), None, []
    for _ in range(20):
        _, state = resampler.step(torch.zeros(4410), state)
        held.append(len(state))
    assert max(held) < 3 * resampler.margin


def test_the_same_rate_is_passed_on() -> None:
    wav = torch.randn(10)
    assert Resampler(16_000, 16_000).step(wav)[0] is wav
