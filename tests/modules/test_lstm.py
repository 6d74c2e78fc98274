"""The residual LSTM (lip2speech/modules/lstm.py)."""

import pytest
import torch
from torch import Tensor

from lip2speech.modules.lstm import ResidualLSTM


@pytest.fixture
def lstm() -> ResidualLSTM:
    torch.manual_seed(0)
    return ResidualLSTM(6, num_layers=2)


def wave(frames: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, 6, frames, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_the_shape_is_preserved(lstm, batch, frames):
    assert lstm(wave(frames, batch)).shape == (batch, 6, frames)


def test_the_input_is_added_to_the_lstms_output(lstm):
    x = wave(5)
    expected = x.clone()
    for item in range(2):
        expected[item] += lstm.lstm(x[item].t())[0].t()
    torch.testing.assert_close(lstm(x), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_chunks_of_any_size_equal_one_pass(lstm, size):
    x, state, chunks = wave(8), None, []
    for chunk in x.split(size, dim=-1):
        y, state = lstm.step(chunk, state)
        chunks.append(y)
    torch.testing.assert_close(torch.cat(chunks, -1), lstm(x), rtol=0, atol=1e-6)


def test_the_output_does_not_depend_on_the_future(lstm):
    x = wave(8)
    changed = x.clone()
    changed[..., 5:] += 1
    a, b = lstm(x), lstm(changed)
    assert torch.equal(a[..., :5], b[..., :5])
    assert not torch.equal(a[..., 5:], b[..., 5:])
