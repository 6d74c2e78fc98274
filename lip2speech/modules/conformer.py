"""The conformer: self-attention for global and convolution for local context, between two half feed-forwards.

Gulati et al. 2020, "Conformer", section 2, with the relative positions of Transformer-XL (Dai et al. 2019,
section 3.3), as in ESPnet and lip2speech-unit (Choi, Kim, Ro 2023): each branch is pre-norm, a norm closes
the layer, the feed-forwards use ReLU, the convolution batch norm and Swish.

    x + 1/2 FFN1(norm x)  ->  x + attention(norm x)  ->  x + conv(norm x)  ->  norm(x + 1/2 FFN2(norm x))
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lip2speech.modules.fusing import fold_batch_norm

NORM_EPS = 1e-12  # ESPnet's
MAX_WAVELENGTH = 10000.0  # of the sinusoids of Vaswani et al. 2017


def relative_positions(time: int, dim: int, device: torch.device | None = None) -> Tensor:
    """Sinusoids of the distance to an earlier frame, from time - 1 down to 1 - time: (2 time - 1, dim)."""
    distance = torch.arange(time - 1, -time, -1, dtype=torch.float32, device=device)
    even = torch.arange(0, dim, 2, dtype=torch.float32, device=device)
    angle = distance[:, None] * torch.exp(even * -(math.log(MAX_WAVELENGTH) / dim))
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)


class RelativeAttention(nn.Module):
    """Multi-head self-attention with scores for content and for relative position.

    Shape:
        forward: x (B, T, D), positions (2T - 1, D), mask (B, T) or None (True = may be attended to)
            -> (B, T, D)
    """

    def __init__(self, dim: int, heads: int, dropout: float):
        super().__init__()
        if dim % heads:
            raise ValueError(f"hidden_dim must be a multiple of heads, got {dim} and {heads}.")
        self.heads, self.dropout = heads, dropout
        self.q_proj, self.k_proj = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.v_proj, self.out_proj = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.position_proj = nn.Linear(dim, dim, bias=False)
        self.content_bias = nn.Parameter(torch.empty(heads, dim // heads))
        self.position_bias = nn.Parameter(torch.empty(heads, dim // heads))
        nn.init.xavier_uniform_(self.content_bias)
        nn.init.xavier_uniform_(self.position_bias)

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, D), (2T - 1, D), (B, T) or None -> (B, T, D)."""
        q, k, v = (self.split(proj(x)) for proj in (self.q_proj, self.k_proj, self.v_proj))
        p = self.split(self.position_proj(positions.to(x.dtype))[None])  # (1, heads, 2T - 1, D / heads)
        bias = rel_shift((q + self.position_bias[:, None]) @ p.transpose(2, 3)) / math.sqrt(q.shape[-1])
        if mask is not None:
            bias = bias.masked_fill(~mask[:, None, None], -math.inf)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(
            q + self.content_bias[:, None], k, v, attn_mask=bias, dropout_p=dropout
        )
        out: Tensor = self.out_proj(y.transpose(1, 2).flatten(2))
        return out

    def split(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, heads, T, D / heads)."""
        out: Tensor = x.unflatten(2, (self.heads, -1)).transpose(1, 2)
        return out


def rel_shift(scores: Tensor) -> Tensor:
    """Scores by distance (B, heads, T, 2T - 1), farthest past first -> by frame (B, heads, T, T).

    Row i needs distances i, i - 1 .. i - T + 1, which begin at column T - 1 - i: one column earlier in each
    row. In memory that is a matrix with rows that are one shorter (Dai et al. 2019, appendix B).
    """
    time, width = scores.shape[2:]
    if time == 1:
        return scores
    trimmed = scores.flatten(2)[..., time - 1 : -1]
    out: Tensor = trimmed.unflatten(2, (time, width - 1))[..., :time]
    return out


class FeedForward(nn.Module):
    """Two linear layers with a ReLU in between, frame by frame: (B, T, D) -> (B, T, D)."""

    def __init__(self, dim: int, ffn_dim: int, dropout: float):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, ffn_dim), nn.Linear(ffn_dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        out: Tensor = self.fc2(self.dropout(F.relu(self.fc1(x))))
        return out


class ConvModule(nn.Module):
    """Pointwise convolution with GLU, depthwise convolution over time, batch norm, Swish, pointwise.

    Shape:
        forward: x (B, T, D), mask (B, T) or None (False = replaced by zeros, like what follows a clip)
            -> (B, T, D)
    """

    def __init__(self, dim: int, kernel_size: int):
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, so that every frame has a center, got {kernel_size}.")
        self.pointwise1 = nn.Conv1d(dim, 2 * dim, 1)
        self.depthwise: nn.Module = nn.Conv1d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)
        self.norm: nn.Module = nn.BatchNorm1d(dim)
        self.pointwise2 = nn.Conv1d(dim, dim, 1)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, D), (B, T) or None -> (B, T, D)."""
        y = F.glu(self.pointwise1(x.transpose(1, 2)), 1)
        if mask is not None:
            y = y * mask[:, None]
        out: Tensor = self.pointwise2(F.silu(self.norm(self.depthwise(y)))).transpose(1, 2)
        return out

    def fold(self) -> None:
        """For inference only: fuse the batch norm into the depthwise convolution."""
        if not isinstance(self.norm, nn.Identity):
            self.depthwise, self.norm = fold_batch_norm(self.depthwise, self.norm), nn.Identity()


class ConformerLayer(nn.Module):
    """See the module.

    Shape:
        forward: x (B, T, D), positions (2T - 1, D), attention_mask and conv_mask (B, T) or None -> (B, T, D)
    """

    def __init__(self, dim: int, ffn_dim: int, heads: int, kernel_size: int, dropout: float):
        super().__init__()
        self.ffn1, self.ffn1_norm = FeedForward(dim, ffn_dim, dropout), layer_norm(dim)
        self.attention, self.attention_norm = RelativeAttention(dim, heads, dropout), layer_norm(dim)
        self.conv, self.conv_norm = ConvModule(dim, kernel_size), layer_norm(dim)
        self.ffn2, self.ffn2_norm = FeedForward(dim, ffn_dim, dropout), layer_norm(dim)
        self.norm = layer_norm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, positions: Tensor, attention_mask: Tensor | None, conv_mask: Tensor | None
    ) -> Tensor:
        """(B, T, D), (2T - 1, D), (B, T) or None twice -> (B, T, D)."""
        x = x + 0.5 * self.dropout(self.ffn1(self.ffn1_norm(x)))
        x = x + self.dropout(self.attention(self.attention_norm(x), positions, attention_mask))
        x = x + self.dropout(self.conv(self.conv_norm(x), conv_mask))
        out: Tensor = self.norm(x + 0.5 * self.dropout(self.ffn2(self.ffn2_norm(x))))
        return out


class Conformer(nn.Module):
    """A stack of conformer layers and a final norm.

    Args:
        dim: D.
        n_layers: number of layers.
        ffn_dim: hidden size of the feed-forward layers.
        heads: of the attention.
        kernel_size: of the depthwise convolutions, in frames.
        dropout: of all branches.
        conv_over_padding: convolutions see padded frames, as published; else padding never changes a
            valid frame.

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
        conv_over_padding: bool = True,
    ):
        super().__init__()
        self.dim, self.conv_over_padding = dim, conv_over_padding
        self.layers = nn.ModuleList(
            ConformerLayer(dim, ffn_dim, heads, kernel_size, dropout) for _ in range(n_layers)
        )
        self.norm = layer_norm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, T) or None -> (B, T, D)."""
        mask = None if padding_mask is None else ~padding_mask
        conv_mask = None if self.conv_over_padding else mask
        positions = self.dropout(relative_positions(x.shape[1], self.dim, x.device))
        x = self.dropout(x * math.sqrt(self.dim))
        for layer in self.layers:
            x = layer(x, positions, mask, conv_mask)
        out: Tensor = self.norm(x)
        return out


def layer_norm(dim: int) -> nn.LayerNorm:
    """The norm of every branch."""
    return nn.LayerNorm(dim, eps=NORM_EPS)
