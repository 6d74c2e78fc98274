"""The conformer: attention for what is far, convolution for what is near, between two half feed-forwards.

Gulati et al. 2020, "Conformer", section 2, with the relative positions of Transformer-XL (Dai et al. 2019,
section 3.3), in the arrangement of ESPnet that lip2speech-unit (Choi, Kim, Ro 2023) uses: every half layer is
pre-norm, a last norm closes the layer, ReLU in the feed-forward, batch norm and Swish in the convolution.

    x + 1/2 FF(norm x)  ->  x + attention(norm x)  ->  x + convolution(norm x)  ->  norm(x + 1/2 FF(norm x))

Knows nothing of video or sound.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lip2speech.modules.fusing import fold_batch_norm

NORM_EPS = 1e-12  # ESPnet's
LONGEST_WAVE = 10000.0  # of the sinusoids of Vaswani et al. 2017


def relative_positions(time: int, dim: int, device: torch.device | None = None) -> Tensor:
    """Sinusoids of how far back a frame lies, time - 1 first and 1 - time last: (2 time - 1, dim)."""
    back = torch.arange(time - 1, -time, -1, dtype=torch.float32, device=device)
    even = torch.arange(0, dim, 2, dtype=torch.float32, device=device)
    angle = back[:, None] * torch.exp(even * -(math.log(LONGEST_WAVE) / dim))
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)


class RelativeAttention(nn.Module):
    """Multi-head self-attention that scores what a frame holds and how far away it is.

    Shape:
        forward: x (B, T, D), positions (2T - 1, D), keep (B, T) or None (True = may be looked at)
                 -> (B, T, D)
    """

    def __init__(self, dim: int, heads: int, dropout: float):
        super().__init__()
        if dim % heads:
            raise ValueError(f"hidden must be a multiple of heads, got {dim} and {heads}.")
        self.heads, self.dropout = heads, dropout
        self.q_proj, self.k_proj = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.v_proj, self.out_proj = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.position_proj = nn.Linear(dim, dim, bias=False)
        self.content_bias = nn.Parameter(torch.empty(heads, dim // heads))
        self.position_bias = nn.Parameter(torch.empty(heads, dim // heads))
        nn.init.xavier_uniform_(self.content_bias)
        nn.init.xavier_uniform_(self.position_bias)

    def forward(self, x: Tensor, positions: Tensor, keep: Tensor | None) -> Tensor:
        q, k, v = (self.split(proj(x)) for proj in (self.q_proj, self.k_proj, self.v_proj))
        p = self.split(self.position_proj(positions.to(x.dtype))[None])  # (1, heads, 2T - 1, D / heads)
        far = shift((q + self.position_bias[:, None]) @ p.transpose(2, 3)) / math.sqrt(q.shape[-1])
        if keep is not None:
            far = far.masked_fill(~keep[:, None, None], -math.inf)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(
            q + self.content_bias[:, None], k, v, attn_mask=far, dropout_p=dropout
        )
        return self.out_proj(y.transpose(1, 2).flatten(2))

    def split(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, heads, T, D / heads)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


def shift(scores: Tensor) -> Tensor:
    """Scores by distance (B, heads, T, 2T - 1), the farthest past first -> by frame (B, heads, T, T).

    Row i wants distances i, i - 1 .. i - T + 1, which begin at column T - 1 - i: one column earlier in each
    row. In memory that is a matrix whose rows are one shorter (Dai et al. 2019, appendix B).
    """
    time, width = scores.shape[2:]
    if time == 1:
        return scores
    kept = scores.flatten(2)[..., time - 1 : -1]
    return kept.unflatten(2, (time, width - 1))[..., :time]


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between them, each frame by itself: (B, T, D) -> (B, T, D)."""

    def __init__(self, dim: int, ffn_dim: int, dropout: float):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, ffn_dim), nn.Linear(ffn_dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.dropout(F.relu(self.fc1(x))))


class ConvModule(nn.Module):
    """A gated pointwise convolution, a depthwise one over time, batch norm, Swish, a pointwise one.

    Shape:
        forward: x (B, T, D), keep (B, T) or None (False = read as zeros, like what is past a clip)
                 -> (B, T, D)
    """

    def __init__(self, dim: int, kernel_size: int):
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, so that every frame has a middle, got {kernel_size}.")
        self.inp = nn.Conv1d(dim, 2 * dim, 1)
        self.depthwise: nn.Module = nn.Conv1d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)
        self.norm: nn.Module = nn.BatchNorm1d(dim)
        self.out = nn.Conv1d(dim, dim, 1)

    def forward(self, x: Tensor, keep: Tensor | None) -> Tensor:
        y = F.glu(self.inp(x.transpose(1, 2)), 1)
        if keep is not None:
            y = y * keep[:, None]
        return self.out(F.silu(self.norm(self.depthwise(y)))).transpose(1, 2)

    def fold(self) -> None:
        """For inference only: the batch norm becomes part of the depthwise convolution."""
        if not isinstance(self.norm, nn.Identity):
            self.depthwise, self.norm = fold_batch_norm(self.depthwise, self.norm), nn.Identity()


class ConformerLayer(nn.Module):
    """See the module.

    Shape:
        forward: x (B, T, D), positions (2T - 1, D), attend and read (B, T) or None -> (B, T, D)
    """

    def __init__(self, dim: int, ffn_dim: int, heads: int, kernel_size: int, dropout: float):
        super().__init__()
        self.before, self.before_norm = FeedForward(dim, ffn_dim, dropout), layer_norm(dim)
        self.attention, self.attention_norm = RelativeAttention(dim, heads, dropout), layer_norm(dim)
        self.conv, self.conv_norm = ConvModule(dim, kernel_size), layer_norm(dim)
        self.after, self.after_norm = FeedForward(dim, ffn_dim, dropout), layer_norm(dim)
        self.norm = layer_norm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, positions: Tensor, attend: Tensor | None, read: Tensor | None) -> Tensor:
        x = x + 0.5 * self.dropout(self.before(self.before_norm(x)))
        x = x + self.dropout(self.attention(self.attention_norm(x), positions, attend))
        x = x + self.dropout(self.conv(self.conv_norm(x), read))
        return self.norm(x + 0.5 * self.dropout(self.after(self.after_norm(x))))


class Conformer(nn.Module):
    """A stack of conformer layers and a last norm.

    Args:
        kernel_size: of the depthwise convolutions, in frames.
        sees_padding: convolutions read padded frames, as published; else padding never changes a kept frame.
    Shape:
        forward: x (B, T, D), padding_mask (B, T) or None (True = padding) -> (B, T, D)
    """

    def __init__(
        self,
        dim: int,
        *,
        n_layers: int,
        ffn_dim: int,
        heads: int,
        kernel_size: int,
        dropout: float = 0.0,
        sees_padding: bool = True,
    ):
        super().__init__()
        self.dim, self.sees_padding = dim, sees_padding
        self.layers = nn.ModuleList(
            ConformerLayer(dim, ffn_dim, heads, kernel_size, dropout) for _ in range(n_layers)
        )
        self.norm = layer_norm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        attend = None if padding_mask is None else ~padding_mask
        read = None if self.sees_padding else attend
        positions = self.dropout(relative_positions(x.shape[1], self.dim, x.device))
        x = self.dropout(x * math.sqrt(self.dim))
        for layer in self.layers:
            x = layer(x, positions, attend, read)
        return self.norm(x)


def layer_norm(dim: int) -> nn.LayerNorm:
    """The norm of every half layer."""
    return nn.LayerNorm(dim, eps=NORM_EPS)
