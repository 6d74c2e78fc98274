"""The transformer encoder (lip2speech/modules/transformer.py)."""

import math
from typing import cast

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lip2speech.modules.transformer import (
    ConvPositionalEmbedding,
    SelfAttention,
    TransformerEncoder,
    TransformerLayer,
    chunk_mask,
)


def slow_attention(x: Tensor, attention: SelfAttention, length: int) -> Tensor:
    """One clip, one head and one frame at a time: (T, D) -> (T, D); the divisor is sqrt(D / heads)."""
    q, k, v = attention.q_proj(x), attention.k_proj(x), attention.v_proj(x)
    size = x.shape[1] // attention.heads
    out = torch.zeros_like(x)
    for head in range(attention.heads):
        part = slice(head * size, (head + 1) * size)
        for t in range(len(x)):
            scores = torch.stack([q[t, part] @ k[s, part] / math.sqrt(size) for s in range(length)])
            weights = scores.exp() / scores.exp().sum()
            out[t, part] = sum(weights[s] * v[s, part] for s in range(length))
    return attention.out_proj(out)


def slow_positions(x: Tensor, positions: ConvPositionalEmbedding) -> Tensor:
    """(T, D) -> (T, D); tap k of frame t sees frame t + k - K // 2."""
    weight, width = positions.weight(), x.shape[1] // positions.groups
    out = positions.bias.expand(x.shape).clone()
    for t in range(len(x)):
        for channel in range(x.shape[1]):
            group = channel // width
            for k in range(positions.kernel):
                s = t + k - positions.kernel // 2
                if 0 <= s < len(x):
                    out[t, channel] += weight[channel, :, k] @ x[s, group * width : (group + 1) * width]
    return F.gelu(out)


@torch.no_grad()
def test_attention_equals_the_slow_twin() -> None:
    torch.manual_seed(0)
    attention, x = SelfAttention(12, 3, 0.0).eval(), torch.randn(2, 5, 12)
    mask = torch.arange(5) < torch.tensor([5, 3])[:, None]
    fast = attention(x, mask[:, None, None, :])
    slow = torch.stack([slow_attention(x[0], attention, 5), slow_attention(x[1], attention, 3)])
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("kernel", [4, 5])
def test_positions_equal_the_slow_twin(kernel: int) -> None:
    torch.manual_seed(0)
    positions, x = ConvPositionalEmbedding(6, kernel, 2), torch.randn(1, 7, 6)
    positions.bias.normal_()
    torch.testing.assert_close(positions(x)[0], slow_positions(x[0], positions), rtol=0, atol=1e-5)


def test_weight_g_is_the_norm_of_each_tap() -> None:
    positions = ConvPositionalEmbedding(6, 4, 2)
    with torch.no_grad():
        positions.weight_g.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 4))
    norms = positions.weight().square().sum((0, 1)).sqrt()
    torch.testing.assert_close(norms, torch.tensor([1.0, 2.0, 3.0, 4.0]))


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("time", [1, 2, 7])
def test_the_encoder_preserves_the_shape_and_ignores_padding(batch: int, time: int) -> None:
    torch.manual_seed(0)
    encoder = TransformerEncoder(8, n_layers=2, ffn_dim=16, heads=2, conv_pos=4, conv_pos_groups=2).eval()
    x = torch.randn(batch, time + 2, 8)
    mask = (torch.arange(time + 2) >= time).expand(batch, -1)
    padded = encoder(x, mask)
    assert padded.shape == x.shape
    torch.testing.assert_close(padded[:, :time], encoder(x[:, :time]), rtol=0, atol=1e-5)
    assert len(encoder.hidden_states(x)) == 2


def test_indivisible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of heads, got 8 and 3"):
        SelfAttention(8, 3, 0.0)
    with pytest.raises(ValueError, match="multiple of conv_pos_groups, got 8 and 3"):
        ConvPositionalEmbedding(8, 4, 3)


def causal_encoder(left_context: int = 4) -> TransformerEncoder:
    torch.manual_seed(0)
    sizes = {"n_layers": 3, "ffn_dim": 24, "heads": 4, "conv_pos": 6, "conv_pos_groups": 4}
    return TransformerEncoder(16, **sizes, causal=True, left_context=left_context).eval()


def test_the_chunk_mask_is_the_chunk_and_its_left_context() -> None:
    rows = ["".join("x" if seen else "." for seen in row) for row in chunk_mask(7, 3, 2, torch.device("cpu"))]
    assert rows == ["xxx....", "xxx....", "xxx....", ".xxxxx.", ".xxxxx.", ".xxxxx.", "....xxx"]
    with pytest.raises(ValueError, match="at least one frame, got 0"):
        chunk_mask(7, 0, 2, torch.device("cpu"))


@torch.no_grad()
@pytest.mark.parametrize("chunk", [1, 3, 4, 20])
def test_steps_of_a_causal_encoder_equal_one_pass_in_chunks(chunk: int) -> None:
    encoder, x = causal_encoder(), torch.randn(2, 11, 16, generator=torch.Generator().manual_seed(1))
    chunks, state = [], None
    for part in x.split(chunk, 1):
        y, state = encoder.step(part, state)
        chunks.append(y)
    torch.testing.assert_close(torch.cat(chunks, 1), encoder(x, chunk=chunk), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_state_does_not_grow_beyond_the_left_context() -> None:
    encoder, state = causal_encoder(left_context=5), None
    for _ in range(9):
        _, state = encoder.step(torch.randn(1, 2, 16), state)
    assert [state[0].shape[1], *(keys.shape[2] for keys, _ in state[1:])] == [5, 5, 5, 5]


@torch.no_grad()
def test_causal_positions_do_not_depend_on_the_future() -> None:
    positions, x = causal_encoder().positions, torch.randn(1, 9, 16)
    changed = x.clone()
    changed[:, 5:] += 1
    a, b = positions(x), positions(changed)
    assert torch.equal(a[:, :5], b[:, :5])
    assert not torch.equal(a[:, 5:], b[:, 5:])


@torch.no_grad()
def test_padding_never_changes_a_valid_frame_in_chunks() -> None:
    encoder, x = causal_encoder(), torch.randn(2, 10, 16, generator=torch.Generator().manual_seed(1))
    padding = torch.arange(10)[None] >= torch.tensor([10, 4])[:, None]
    y = encoder(x, padding, 3)
    assert y.isfinite().all()
    torch.testing.assert_close(y[1:, :4], encoder(x[1:, :4], chunk=3), rtol=1e-5, atol=1e-5)


def test_an_encoder_that_is_not_causal_does_not_step() -> None:
    encoder = TransformerEncoder(16, n_layers=1, ffn_dim=8, heads=4, conv_pos=6, conv_pos_groups=4)
    with pytest.raises(ValueError, match="causal"):
        encoder.step(torch.zeros(1, 2, 16))


SIZES = {"n_layers": 2, "ffn_dim": 16, "heads": 2, "conv_pos": 4, "conv_pos_groups": 2}


def post_norm_encoder(**changes: bool | int) -> TransformerEncoder:
    """A post-norm encoder whose norms have random weights, in eval mode."""
    torch.manual_seed(0)
    encoder = TransformerEncoder(8, **SIZES, norm_first=False, **changes).eval()  # type: ignore[arg-type]
    for name, weight in encoder.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(weight, 0.5, 1.5)
    return encoder


@torch.no_grad()
def test_a_post_norm_layer_norms_after_each_branch() -> None:
    layer = cast(TransformerLayer, post_norm_encoder().layers[0])
    x = torch.randn(2, 5, 8)
    middle = layer.attention_norm(x + layer.attention(x, None))
    expected = layer.ffn_norm(middle + layer.fc2(F.gelu(layer.fc1(middle))))
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-6)


@torch.no_grad()
def test_the_norm_of_a_post_norm_encoder_precedes_the_first_layer() -> None:
    encoder, x = post_norm_encoder(), torch.randn(1, 6, 8)
    y = encoder.norm(x + encoder.positions(x))
    for layer in encoder.layers:
        y = layer(y)
    torch.testing.assert_close(encoder(x), y, rtol=0, atol=1e-6)
    assert encoder.hidden_states(x)[-1].equal(encoder(x))


@torch.no_grad()
def test_hidden_states_until_a_layer_equal_the_first_ones_of_all() -> None:
    encoder, x = post_norm_encoder(), torch.randn(1, 6, 8)
    ran: list[int] = []
    for number, layer in enumerate(encoder.layers):
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
    (first,) = encoder.hidden_states(x, until=1)
    assert ran == [0]
    assert first.equal(encoder.hidden_states(x)[0])


@torch.no_grad()
@pytest.mark.parametrize("time", [1, 2, 7])
def test_padding_never_changes_a_valid_frame_of_a_post_norm_encoder(time: int) -> None:
    encoder, x = post_norm_encoder(), torch.randn(2, time + 3, 8)
    mask = (torch.arange(time + 3) >= time).expand(2, -1)
    torch.testing.assert_close(encoder(x, mask)[:, :time], encoder(x[:, :time]), rtol=0, atol=1e-5)


@torch.no_grad()
def test_steps_of_a_post_norm_encoder_equal_one_pass_in_chunks() -> None:
    encoder, x = post_norm_encoder(causal=True, left_context=4), torch.randn(1, 9, 8)
    chunks: list[Tensor] = []
    state = None
    for start in (0, 3, 6):
        y, state = encoder.step(x[:, start : start + 3], state)
        chunks.append(y)
    torch.testing.assert_close(torch.cat(chunks, 1), encoder(x, chunk=3), rtol=0, atol=1e-6)


def test_pre_norm_and_post_norm_encoders_have_the_same_weight_names() -> None:
    pre_norm = TransformerEncoder(8, **SIZES)  # type: ignore[arg-type]
    assert list(pre_norm.state_dict()) == list(post_norm_encoder().state_dict())
