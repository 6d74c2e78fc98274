"""Streaming convolutions and ELU (lip2speech/modules/conv.py, activations.py)."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lip2speech.modules.activations import ELU
from lip2speech.modules.conv import (
    StreamingConv1d,
    StreamingConvTranspose1d,
    channels_last,
    fold_weight_norm,
    is_channels_last,
    pad,
    step_layers,
)


def conv(**options) -> StreamingConv1d:
    torch.manual_seed(0)
    return StreamingConv1d(3, 5, options.pop("kernel_size", 7), **options)


def conv_transpose(stride: int = 4, **options) -> StreamingConvTranspose1d:
    torch.manual_seed(0)
    return StreamingConvTranspose1d(6, 4, 2 * stride, stride=stride, **options)


def wave(channels: int, frames: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, channels, frames, generator=torch.Generator().manual_seed(1))


def in_chunks(layer, x: Tensor, size: int) -> Tensor:
    state, chunks = None, []
    for chunk in x.split(size, dim=-1):
        y, state = layer.step(chunk, state)
        chunks.append(y)
    return torch.cat(chunks, dim=-1)


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("frames", [1, 2, 7])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("pad_mode", ["constant", "reflect"])
def test_a_convolution_returns_ceil_of_samples_over_stride_frames(batch, frames, causal, pad_mode):
    layer = conv(kernel_size=8, stride=4, causal=causal, pad_mode=pad_mode)
    y = layer(wave(3, frames, batch))
    assert y.shape == (batch, 5, -(-frames // 4))
    assert y.dtype == torch.float32


@pytest.mark.parametrize("frames", [1, 2, 7])
@pytest.mark.parametrize(("causal", "ratio"), [(True, 1.0), (True, 0.5), (False, 1.0)])
def test_a_transposed_convolution_returns_stride_samples_per_frame(frames, causal, ratio):
    layer = conv_transpose(causal=causal, trim_right_ratio=ratio)
    assert layer(wave(6, frames)).shape == (2, 4, 4 * frames)


@pytest.mark.parametrize(("dilation", "groups"), [(1, 1), (3, 1), (2, 3)])
def test_a_causal_convolution_equals_conv1d_with_zeros_on_the_left(dilation, groups):
    torch.manual_seed(0)
    layer = StreamingConv1d(3, 6, 3, dilation=dilation, groups=groups)
    x = wave(3, 20)
    weight, bias = layer.conv.weight, layer.conv.bias
    expected = F.conv1d(F.pad(x, (2 * dilation, 0)), weight, bias, dilation=dilation, groups=groups)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-6)


def test_a_convolution_equals_the_slow_twin():
    layer, x = conv(kernel_size=4, stride=2), wave(3, 6, batch=1)
    padded = F.pad(x, (2, 0))
    for frame in range(3):
        for out in range(5):
            total = layer.conv.bias[out].clone()
            for channel in range(3):
                for tap in range(4):
                    total += layer.conv.weight[out, channel, tap] * padded[0, channel, 2 * frame + tap]
            assert abs((layer(x)[0, out, frame] - total).item()) < 1e-5


@pytest.mark.parametrize("stride", [1, 2, 5])
def test_a_transposed_convolution_equals_a_trimmed_conv_transpose1d(stride):
    layer, x = conv_transpose(stride), wave(6, 9)
    expected = F.conv_transpose1d(x, layer.conv.weight, layer.conv.bias, stride=stride)[..., : 9 * stride]
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-6)


def test_trim_right_ratio_one_half_trims_both_sides():
    layer, x = conv_transpose(4, trim_right_ratio=0.5), wave(6, 9)
    expected = F.conv_transpose1d(x, layer.conv.weight, layer.conv.bias, stride=4)[..., 2:-2]
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [4, 8, 12, 32])
@pytest.mark.parametrize(("kernel_size", "stride", "dilation"), [(7, 1, 1), (3, 1, 3), (8, 4, 1), (4, 4, 1)])
def test_chunks_of_any_size_equal_one_pass_of_a_convolution(size, kernel_size, stride, dilation):
    layer, x = conv(kernel_size=kernel_size, stride=stride, dilation=dilation), wave(3, 32)
    torch.testing.assert_close(in_chunks(layer, x, size), layer(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_chunks_of_any_size_equal_one_pass_of_a_transposed_convolution(size):
    layer, x = conv_transpose(), wave(6, 16)
    torch.testing.assert_close(in_chunks(layer, x, size), layer(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("layer", [conv(), conv_transpose()], ids=["conv", "transposed"])
def test_an_empty_chunk_returns_nothing_and_keeps_the_state(layer):
    x = wave(layer.conv.in_channels, 5)
    _, state = layer.step(x)
    y, same = layer.step(x[..., :0], state)
    assert y.shape[-1] == 0
    assert torch.equal(same, state)


@pytest.mark.parametrize("layer", [conv(), conv_transpose()], ids=["conv", "transposed"])
def test_the_output_does_not_depend_on_the_future(layer):
    x = wave(layer.conv.in_channels, 12)
    per_frame = layer(x).shape[-1] // 12
    for frames in range(1, 12):
        changed = torch.cat([x[..., :frames], 5 * x[..., frames:] + 1], dim=-1)
        known = frames * per_frame
        torch.testing.assert_close(layer(changed)[..., :known], layer(x)[..., :known], rtol=0, atol=1e-6)


def test_two_streams_through_one_layer_are_independent():
    layer, left, right = conv(), wave(3, 8), -wave(3, 8)
    _, state_left = layer.step(left[..., :4])
    _, state_right = layer.step(right[..., :4])
    y_left, _ = layer.step(left[..., 4:], state_left)
    y_right, _ = layer.step(right[..., 4:], state_right)
    torch.testing.assert_close(y_left, layer(left)[..., 4:], rtol=0, atol=1e-6)
    torch.testing.assert_close(y_right, layer(right)[..., 4:], rtol=0, atol=1e-6)


@pytest.mark.parametrize("layer", [conv(), conv_transpose()], ids=["conv", "transposed"])
def test_the_memory_layout_is_preserved_and_does_not_change_the_output(layer):
    x = wave(layer.conv.in_channels, 12)
    y, y_last = layer(x), layer(channels_last(x))
    torch.testing.assert_close(y_last, y, rtol=0, atol=1e-6)
    assert y.is_contiguous()
    assert is_channels_last(y_last)


def test_reflection_equals_pytorchs_and_zero_pads_short_inputs():
    x = wave(3, 9)
    assert torch.equal(pad(x, 4, 2, "reflect"), F.pad(x, (4, 2), mode="reflect"))
    short = torch.tensor([[[1.0, 2.0]]])
    assert pad(short, 3, 0, "reflect").tolist() == [[[0.0, 0.0, 2.0, 1.0, 2.0]]]


@pytest.mark.parametrize("layer", [conv(norm="weight_norm"), conv_transpose(norm="weight_norm")])
def test_folding_weight_norm_preserves_the_output_and_leaves_plain_weights(layer):
    x = wave(layer.conv.in_channels, 8)
    with torch.no_grad():
        layer.conv.parametrizations.weight.original0.mul_(1.7)
    before = layer(x)
    assert fold_weight_norm(layer) is layer
    torch.testing.assert_close(layer(x), before, rtol=0, atol=1e-6)
    assert sorted(layer.state_dict()) == ["conv.bias", "conv.weight"]


def test_time_group_norm_normalizes_mean_and_variance_over_the_clip():
    y = conv(causal=False, norm="time_group_norm")(wave(3, 50))
    assert y.mean(dim=(1, 2)).abs().max() < 1e-5
    assert (y.std(dim=(1, 2)) - 1).abs().max() < 1e-2


def test_a_stack_of_layers_has_one_state_per_layer():
    layers = torch.nn.Sequential(conv(), ELU(), StreamingConv1d(5, 2, 4, stride=2))
    x = wave(3, 12)
    first, state = step_layers(layers, x[..., :4], None)
    rest, state = step_layers(layers, x[..., 4:], state)
    torch.testing.assert_close(torch.cat([first, rest], -1), layers(x), rtol=0, atol=1e-6)
    assert state[1] is None


@pytest.mark.parametrize("shape", [(7,), (2, 3, 50)])
def test_elu_and_its_gradient_equal_pytorchs(shape):
    x = torch.randn(shape, dtype=torch.float32, generator=torch.Generator().manual_seed(2)) * 5
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    ELU()(ours).cos().sum().backward()
    F.elu(theirs).cos().sum().backward()
    torch.testing.assert_close(ELU()(x), F.elu(x), rtol=0, atol=1e-7)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-6)


def test_elu_does_not_modify_its_input():
    x = wave(3, 5)
    kept = x.clone()
    ELU()(x)
    assert torch.equal(x, kept)


@pytest.mark.parametrize("make", [conv, conv_transpose])
@pytest.mark.parametrize("norm", ["none", "weight_norm"])
def test_a_layer_can_be_moved_to_another_precision(make, norm):
    layer = make(norm=norm).to(torch.float64)
    y = layer(wave(layer.conv.in_channels, 8).double())
    assert y.dtype == torch.float64


@pytest.mark.parametrize(
    "layer",
    [conv(causal=False), conv(causal=False, pad_mode="reflect"), conv_transpose(trim_right_ratio=0.5)],
    ids=["non-causal", "non-causal, reflect", "trimmed left"],
)
def test_a_layer_that_is_not_streamable_refuses_to_step(layer):
    with pytest.raises(ValueError, match="only causal layers with trim_right_ratio 1 .* run the whole input"):
        layer.step(wave(layer.conv.in_channels, 8))


def test_a_reflecting_layer_needs_a_first_chunk_longer_than_its_context():
    layer, x = conv(kernel_size=5, dilation=2, pad_mode="reflect"), wave(3, 24)
    first, state = layer.step(x[..., :9])
    rest = []
    for chunk in x[..., 9:].split(2, dim=-1):
        y, state = layer.step(chunk, state)
        rest.append(y)
    torch.testing.assert_close(torch.cat([first, *rest], -1), layer(x))
    with pytest.raises(ValueError, match="needs more than 8 samples, got 8; pass a longer first chunk"):
        layer.step(x[..., :8])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: conv(kernel_size=2, stride=4), "kernel_size must be at least stride, got 2 and stride 4"),
        (lambda: conv(pad_mode="edge"), "pad_mode must be one of constant, reflect, got 'edge'"),
        (lambda: conv(norm="batch"), "norm must be one of none, weight_norm, time_group_norm, got 'batch'"),
        (lambda: conv(norm="time_group_norm"), "spans the whole signal, so it needs causal=False"),
        (
            lambda: StreamingConvTranspose1d(3, 3, 7, stride=2),
            "kernel_size must be a multiple of stride, got 7 and stride 2",
        ),
        (
            lambda: conv(kernel_size=8, stride=4).step(wave(3, 6)),
            "a step needs a multiple of 4 samples, got 6; buffer the rest",
        ),
    ],
)
def test_wrong_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
