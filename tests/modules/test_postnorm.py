"""The post-norm encoder against its formula (lip2speech/modules/postnorm.py)."""

from typing import cast

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lip2speech.modules.postnorm import PostNormEncoder, PostNormLayer
from lip2speech.modules.transformer import TransformerEncoder

SIZES = {"n_layers": 2, "ffn_dim": 16, "heads": 2, "conv_pos": 4, "conv_pos_groups": 2}


def make_encoder(**changes: bool | int) -> PostNormEncoder:
    """An encoder whose norms do something, in eval mode."""
    torch.manual_seed(0)
    encoder = PostNormEncoder(8, **SIZES, **changes).eval()  # type: ignore[arg-type]
    for name, weight in encoder.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(weight, 0.5, 1.5)
    return encoder


@torch.no_grad()
def test_a_layer_norms_after_each_half() -> None:
    layer = cast(PostNormLayer, make_encoder().layers[0])
    x = torch.randn(2, 5, 8)
    middle = layer.attention_norm(x + layer.attention(x, None))
    expected = layer.ffn_norm(middle + layer.fc2(F.gelu(layer.fc1(middle))))
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-6)


@torch.no_grad()
def test_the_encoders_norm_stands_before_the_first_layer() -> None:
    encoder, x = make_encoder(), torch.randn(1, 6, 8)
    y = encoder.norm(x + encoder.positions(x))
    for layer in encoder.layers:
        y = layer(y)
    torch.testing.assert_close(encoder(x), y, rtol=0, atol=1e-6)
    assert encoder.layers_of(x)[-1].equal(encoder(x))


@torch.no_grad()
def test_layers_after_the_one_asked_for_are_not_run() -> None:
    encoder, x = make_encoder(), torch.randn(1, 6, 8)
    (first,) = encoder.layers_of(x, until=1)
    assert first.equal(encoder.layers_of(x)[0])


@torch.no_grad()
@pytest.mark.parametrize("time", [1, 2, 7])
def test_padding_never_changes_a_kept_frame(time: int) -> None:
    encoder, x = make_encoder(), torch.randn(2, time + 3, 8)
    mask = (torch.arange(time + 3) >= time).expand(2, -1)
    torch.testing.assert_close(encoder(x, mask)[:, :time], encoder(x[:, :time]), rtol=0, atol=1e-5)


@torch.no_grad()
def test_step_by_step_equals_one_pass_in_chunks() -> None:
    encoder, x = make_encoder(causal=True, context=4), torch.randn(1, 9, 8)
    parts: list[Tensor] = []
    state = None
    for start in (0, 3, 6):
        y, state = encoder.step(x[:, start : start + 3], state)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, 1), encoder(x, chunk=3), rtol=0, atol=1e-6)


def test_its_weights_have_the_names_of_the_pre_norm_encoder() -> None:
    pre = TransformerEncoder(8, **SIZES)
    assert list(pre.state_dict()) == list(make_encoder().state_dict())
