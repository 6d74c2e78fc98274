"""The ConvNeXt block (lip2speech/modules/convnext.py)."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lip2speech.modules.convnext import ConvNeXtBlock


def block(*, causal: bool) -> ConvNeXtBlock:
    torch.manual_seed(0)
    return ConvNeXtBlock(8, hidden=12, kernel_size=5, gamma=0.5, causal=causal).eval()


def signal(frames: int) -> Tensor:
    return torch.randn(2, 8, frames, generator=torch.Generator().manual_seed(1))


def test_a_block_equals_the_slow_twin():
    net, x = block(causal=False), signal(6)
    padded, expected = F.pad(x, (2, 2)), torch.empty_like(x)
    taps, bias = net.depthwise.conv.weight[:, 0], net.depthwise.conv.bias
    for frame in range(6):
        y = (padded[..., frame : frame + 5] * taps).sum(-1) + bias
        y = (y - y.mean(-1, keepdim=True)) / (y.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()
        y = F.gelu(y @ net.mlp[0].weight.t() + net.mlp[0].bias)
        expected[..., frame] = x[..., frame] + 0.5 * (y @ net.mlp[2].weight.t() + net.mlp[2].bias)
    torch.testing.assert_close(net(x), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_steps_of_a_causal_block_equal_one_pass(size):
    net, x = block(causal=True), signal(12)
    state, chunks = None, []
    for chunk in x.split(size, dim=-1):
        y, state = net.step(chunk, state)
        chunks.append(y)
    torch.testing.assert_close(torch.cat(chunks, -1), net(x), rtol=0, atol=1e-6)


def test_a_causal_block_does_not_depend_on_the_future():
    net, x = block(causal=True), signal(8)
    changed = torch.cat([x[..., :3], -x[..., 3:]], dim=-1)
    torch.testing.assert_close(net(changed)[..., :3], net(x)[..., :3], rtol=0, atol=1e-6)
