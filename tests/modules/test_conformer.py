"""The conformer and its relative attention (lip2speech/modules/conformer.py)."""

import math

import pytest
import torch
from torch import Tensor

from lip2speech.modules.conformer import (
    Conformer,
    ConvModule,
    RelativeAttention,
    rel_shift,
    relative_positions,
)
from lip2speech.modules.fusing import fold


def make(*, conv_over_padding: bool = True) -> Conformer:
    torch.manual_seed(0)
    conformer = Conformer(
        16, n_layers=2, ffn_dim=24, heads=2, kernel_size=5, conv_over_padding=conv_over_padding, dropout=0.1
    )
    for layer in conformer.layers:
        norm = layer.conv.norm
        torch.nn.init.uniform_(norm.running_var, 0.5, 2.0)
        torch.nn.init.normal_(norm.running_mean)
    return conformer.eval()


def slow_attention(attention: RelativeAttention, x: Tensor, mask: Tensor | None) -> Tensor:
    """Row by row, with the sinusoids of the distance of each pair of frames."""
    time, dim = x.shape[1:]
    size = dim // attention.heads
    out = torch.zeros_like(x)
    for b in range(len(x)):
        q, k, v = (proj(x[b]) for proj in (attention.q_proj, attention.k_proj, attention.v_proj))
        for h in range(attention.heads):
            part = slice(h * size, (h + 1) * size)
            for i in range(time):
                scores = torch.full((time,), -math.inf)
                for j in range(time):
                    if mask is not None and not mask[b, j]:
                        continue
                    waves = [(i - j) / 10000 ** (2 * (d // 2) / dim) for d in range(dim)]
                    wave = torch.tensor([math.cos(a) if d % 2 else math.sin(a) for d, a in enumerate(waves)])
                    p = attention.position_proj(wave)[part]
                    content = (q[i, part] + attention.content_bias[h]) @ k[j, part]
                    scores[j] = (content + (q[i, part] + attention.position_bias[h]) @ p) / math.sqrt(size)
                out[b, i, part] = scores.softmax(0) @ v[:, part]
    return attention.out_proj(out)


@torch.no_grad()
@pytest.mark.parametrize("time", [1, 2, 7])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_equals_the_slow_twin(time: int, masked: bool) -> None:
    torch.manual_seed(0)
    attention, x = RelativeAttention(8, 2, 0.0).eval(), torch.randn(2, time, 8)
    mask = torch.arange(time)[None] < torch.tensor([[time], [max(1, time - 2)]]) if masked else None
    found = attention(x, relative_positions(time, 8), mask)
    torch.testing.assert_close(found, slow_attention(attention, x, mask), rtol=0, atol=1e-5)


def test_positions_are_sinusoids_of_the_distance() -> None:
    table = relative_positions(3, 4)
    assert table.shape == (5, 4)
    assert table[2].tolist() == [0, 1, 0, 1]  # no distance
    one_back = [math.sin(1), math.cos(1), math.sin(0.01), math.cos(0.01)]
    torch.testing.assert_close(table[1], torch.tensor(one_back))
    torch.testing.assert_close(table[3], table[1] * torch.tensor([-1.0, 1.0, -1.0, 1.0]))  # one ahead


def test_rel_shift_maps_distances_to_frames() -> None:
    for time in (1, 2, 5):
        distances = torch.arange(time - 1, -time, -1.0).expand(1, 1, time, -1)
        frames = torch.arange(time)
        assert torch.equal(rel_shift(distances)[0, 0], (frames[:, None] - frames[None]).float())


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("time", [1, 2, 7])
def test_the_shape_is_preserved(batch: int, time: int) -> None:
    assert make()(torch.randn(batch, time, 16)).shape == (batch, time, 16)


@torch.no_grad()
def test_padding_changes_valid_frames_only_with_conv_over_padding() -> None:
    x, mask = torch.randn(2, 9, 16), torch.zeros(2, 9, dtype=torch.bool)
    mask[1, 5:] = True
    masked, published = make(conv_over_padding=False), make()
    torch.testing.assert_close(masked(x, mask)[1, :5], masked(x[1:, :5])[0], rtol=0, atol=1e-5)
    assert (published(x, mask)[1, :5] - published(x[1:, :5])[0]).abs().max() > 1e-3


@torch.no_grad()
def test_fusing_the_batch_norm_preserves_the_output() -> None:
    conformer, x = make(), torch.randn(2, 9, 16)
    before = conformer(x)
    assert fold(conformer) == 2
    assert not any(isinstance(module, torch.nn.BatchNorm1d) for module in conformer.modules())
    torch.testing.assert_close(conformer(x), before, rtol=0, atol=1e-5)


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="hidden_dim must be a multiple of heads, got 16 and 3"):
        RelativeAttention(16, 3, 0.0)
    with pytest.raises(ValueError, match="kernel_size must be odd"):
        ConvModule(16, 4)
