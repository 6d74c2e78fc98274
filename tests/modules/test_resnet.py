"""The lip ResNet (lip2speech/modules/resnet.py)."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lip2speech.modules.resnet import LipResNet


@pytest.fixture(params=["prelu", "relu", "swish"])
def resnet(request: pytest.FixtureRequest) -> LipResNet:
    return make_resnet(request.param, 2)


def make_resnet(activation: str, stem_stride: int) -> LipResNet:
    """A small network with random norms and slopes, in eval mode."""
    torch.manual_seed(0)
    net = LipResNet(3, activation, stem_stride)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
        if isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, -0.5, 0.5)
    return net.eval()


def slow_norm(x: Tensor, norm: nn.Module) -> Tensor:
    """Batch norm in eval mode, from its definition: (C, H, W) -> (C, H, W)."""
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return (x - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]


def slow_act(x: Tensor, act: nn.Module) -> Tensor:
    """(C, H, W) -> (C, H, W)."""
    if isinstance(act, nn.PReLU):
        return torch.where(x > 0, x, act.weight[:, None, None] * x)
    return x.clamp(min=0) if isinstance(act, nn.ReLU) else x / (1 + torch.exp(-x))


def slow_stem(video: Tensor, net: LipResNet, t: int) -> Tensor:
    """One frame, the sum of 2-D convolutions of the five around it: (T, H, W) -> (C, H', W')."""
    out, weight, stride = torch.zeros(()), net.stem.weight, net.stem_stride
    for tap in range(5):
        if 0 <= t + tap - 2 < len(video):
            out = out + F.conv2d(video[None, None, t + tap - 2], weight[:, :, tap], None, stride, 3)[0]
    return out


def slow_block(x: Tensor, block: nn.Module) -> Tensor:
    stride = block.conv1.stride
    y = slow_act(slow_norm(F.conv2d(x, block.conv1.weight, None, stride, 1), block.norm1), block.act1)
    y = slow_norm(F.conv2d(y, block.conv2.weight, None, 1, 1), block.norm2)
    if len(block.shortcut):
        x = slow_norm(F.conv2d(x, block.shortcut[0].weight, None, stride), block.shortcut[1])
    return slow_act(x + y, block.act2)


def slow_resnet(video: Tensor, net: LipResNet) -> Tensor:
    """Frame by frame: (T, H, W) -> (T, 8 * width)."""
    vectors = []
    for t in range(len(video)):
        x = slow_act(slow_norm(slow_stem(video, net, t), net.norm), net.act)
        x = F.max_pool2d(x[None], 3, 2, 1)[0] if net.stem_stride == 2 else x
        for stage in net.trunk.stages:
            for block in stage:
                x = slow_block(x, block)
        vectors.append(x.mean((1, 2)))
    return torch.stack(vectors)


@torch.no_grad()
@pytest.mark.parametrize("size", [88, 33])
def test_the_network_equals_the_slow_twin(resnet: LipResNet, size: int) -> None:
    check_against_the_slow_twin(resnet, size)


@torch.no_grad()
@pytest.mark.parametrize("size", [88, 33])
def test_a_stem_of_stride_4_has_no_pooling(size: int) -> None:
    check_against_the_slow_twin(make_resnet("relu", 4), size)


def check_against_the_slow_twin(net: LipResNet, size: int) -> None:
    video = torch.randn(2, 1, 4, size, size)
    fast, slow = net(video), torch.stack([slow_resnet(clip[0], net) for clip in video])
    assert (fast - slow).abs().max() < 1e-5 * slow.abs().max()


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("time", [1, 2, 7])
def test_every_frame_has_one_vector(batch: int, time: int) -> None:
    assert LipResNet(2)(torch.randn(batch, 1, time, 44, 44)).shape == (batch, time, 16)


@torch.no_grad()
def test_padded_frames_are_zeros_and_do_not_change_valid_ones(resnet: LipResNet) -> None:
    video = torch.randn(2, 1, 5, 44, 44)
    mask = torch.arange(5) >= torch.tensor([5, 2])[:, None]
    vectors = resnet(video, mask)
    assert vectors[mask].eq(0).all()
    torch.testing.assert_close(vectors[1, :2], resnet(video[1:, :, :2])[0])


def test_padded_frames_do_not_enter_the_batch_statistics() -> None:
    torch.manual_seed(0)
    one, two = LipResNet(2), LipResNet(2)
    two.load_state_dict(one.state_dict())
    video = torch.randn(1, 1, 6, 44, 44)
    one.train()(video[:, :, :4])
    two.train()(video, torch.arange(6)[None] >= 4)
    torch.testing.assert_close(two.norm.running_var, one.norm.running_var)


def test_valid_frames_have_gradients() -> None:
    video = torch.randn(1, 1, 4, 44, 44, requires_grad=True)
    LipResNet(2)(video, torch.tensor([[False, False, True, True]])).square().sum().backward()
    assert video.grad is not None
    assert video.grad[:, :, :2].abs().sum() > 0
    assert video.grad[:, :, 2:].abs().sum() == 0


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"video must be \(B, 1, T, H, W\), got \(1, 4, 88, 88\)"):
        LipResNet(2)(torch.zeros(1, 4, 88, 88))


def test_other_stem_strides_are_refused() -> None:
    with pytest.raises(ValueError, match="stem_stride must be 2 or 4, got 3"):
        LipResNet(2, stem_stride=3)


@torch.no_grad()
@pytest.mark.parametrize("size", [1, 3, 9])
def test_steps_of_a_causal_network_equal_one_pass(size: int) -> None:
    torch.manual_seed(0)
    net = LipResNet(3, "prelu", 4, causal=True).eval()
    video, chunks, state = torch.randn(2, 1, 9, 24, 24), [], None
    for part in video.split(size, 2):
        vectors, state = net.step(part, state)
        chunks.append(vectors)
    whole = net(video)
    torch.testing.assert_close(torch.cat(chunks, 1), whole, rtol=1e-5, atol=1e-5)
    changed = video.clone()
    changed[:, :, 5:] += 1
    torch.testing.assert_close(net(changed)[:, :5], whole[:, :5])
    assert not torch.allclose(net(changed)[:, 5:], whole[:, 5:])


def test_a_network_that_is_not_causal_does_not_step() -> None:
    with pytest.raises(ValueError, match="causal"):
        LipResNet(3).step(torch.zeros(1, 1, 2, 24, 24))
