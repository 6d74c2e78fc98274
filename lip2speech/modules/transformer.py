"""The transformer encoder of HuBERT and AV-HuBERT: convolutional positions, then pre-norm layers.

Vaswani et al. 2017 for attention; Baevski et al. 2020 (wav2vec 2.0, section 2) for positions by a grouped
convolution; the pre-norm order is AV-HuBERT's (`layer_norm_first`). Knows nothing of video or sound.

A frame sees the whole clip, or, in chunks, its own chunk and `context` frames before that: then a causal
encoder also runs step by step, a chunk at a time, and gives what the whole clip in such chunks would give.

    chunk 3, context 4:   frames  0 1 2 | 3 4 5 | 6 7 8        5 looks at 0 .. 5, 6 at 2 .. 8
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NARROW = 16
"""Channels: of narrower groups PyTorch 2.14 computes bfloat16 convolutions wrongly on CPUs with AMX."""
LINEAR_STD = 0.02  # BERT's initial spread, which HuBERT keeps

Past = tuple[Tensor, Tensor]
"""Keys and values of the frames before a chunk."""


class ConvPositionalEmbedding(nn.Module):
    """Relative positions by one wide grouped convolution, weight-normed over each tap (dim 2).

    `weight_g` (1, 1, K) holds each tap's norm, `weight_v` (D, D / groups, K) its direction.

    Args:
        causal: a frame sees K - 1 frames before it, instead of half as many on either side.
    Shape:
        forward: (B, T, D) -> (B, T, D)
        step: (B, T, D), state (B, K - 1, D) or None -> (B, T, D), state
    """

    def __init__(self, dim: int, kernel: int, groups: int, *, causal: bool = False) -> None:
        super().__init__()
        if dim % groups:
            raise ValueError(f"embed_dim must be a multiple of conv_pos_groups, got {dim} and {groups}.")
        self.kernel, self.groups, self.causal = kernel, groups, causal
        std = math.sqrt(4 / (kernel * dim))
        tap_norm = std * math.sqrt(dim * dim / groups)  # what a tap's norm comes to, on average
        self.weight_v = nn.Parameter(torch.empty(dim, dim // groups, kernel))
        self.weight_g: nn.Parameter | None = nn.Parameter(torch.full((1, 1, kernel), tap_norm))
        self.bias = nn.Parameter(torch.zeros(dim))
        nn.init.trunc_normal_(self.weight_v, std=std)

    def weight(self) -> Tensor:
        """The convolution's weight: (D, D / groups, K)."""
        if self.weight_g is None:
            return self.weight_v
        return self.weight_v * (self.weight_g / self.weight_v.norm(dim=(0, 1), keepdim=True))

    def fold(self) -> None:
        """For inference only: the weight is computed once."""
        with torch.no_grad():
            self.weight_v = nn.Parameter(self.weight())
        self.weight_g = None

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        if self.causal:
            return self.step(x)[0]
        y = self.convolve(x, self.kernel // 2)
        # An even kernel padded on both sides gives one frame too many; the published network drops the last.
        return F.gelu(y[..., : x.shape[1]]).transpose(1, 2)

    def step(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, T, D), the last K - 1 frames before them -> (B, T, D), state."""
        before = self.kernel - 1
        if state is None:
            state = x.new_zeros(len(x), before, x.shape[-1])
        x = torch.cat([state, x], 1)
        return F.gelu(self.convolve(x, 0)).transpose(1, 2), x[:, x.shape[1] - before :]

    def convolve(self, x: Tensor, padding: int) -> Tensor:
        """(B, T, D) -> (B, D, T'), in float32 where bfloat16 cannot be trusted."""
        x, weight = x.transpose(1, 2), self.weight()
        if x.device.type != "cpu" or weight.shape[1] >= NARROW or not torch.is_autocast_enabled("cpu"):
            return F.conv1d(x, weight, self.bias, padding=padding, groups=self.groups)
        with torch.autocast("cpu", enabled=False):
            return F.conv1d(x.float(), weight, self.bias, padding=padding, groups=self.groups)


class SelfAttention(nn.Module):
    """Multi-head self-attention.

    Shape:
        forward: x (B, T, D), keep bool, to be broadcast to (B, 1, T, T), or None (True = may be looked at)
                 -> (B, T, D)
        step: x (B, T, D), past keys and values (B, heads, S, D / heads) -> (B, T, D), those with the new
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"embed_dim must be a multiple of heads, got {dim} and {heads}.")
        self.heads, self.dropout = heads, dropout
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, keep: Tensor | None) -> Tensor:
        """(B, T, D), (B, 1, 1 or T, T) or None -> (B, T, D)."""
        q, k, v = self.project(x)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=keep, dropout_p=dropout)
        return self.out_proj(y.transpose(1, 2).flatten(2))

    def step(self, x: Tensor, past: Past | None, context: int) -> tuple[Tensor, Past]:
        """One chunk (B, T, D), keys and values of at most `context` frames before it -> (B, T, D), past."""
        q, k, v = self.project(x)
        if past is not None:
            k, v = (torch.cat(pair, 2) for pair in zip(past, (k, v), strict=True))
        y = F.scaled_dot_product_attention(q, k, v)
        first = max(0, k.shape[2] - context)
        return self.out_proj(y.transpose(1, 2).flatten(2)), (k[:, :, first:], v[:, :, first:])

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, D) -> queries, keys and values, (B, heads, T, D / heads) each."""
        shape = (*x.shape[:2], self.heads, -1)
        q, k, v = (proj(x).view(shape).transpose(1, 2) for proj in (self.q_proj, self.k_proj, self.v_proj))
        return q, k, v


class TransformerLayer(nn.Module):
    """Pre-norm layer: x + attention(norm(x)), then x + feed_forward(norm(x)).

    Shape:
        forward, step: as `SelfAttention`
    """

    def __init__(
        self,
        dim: int,
        *,
        ffn_dim: int,
        heads: int,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        activation_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = SelfAttention(dim, heads, attention_dropout)
        self.ffn_norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, ffn_dim)
        self.fc2 = nn.Linear(ffn_dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.activation_dropout = nn.Dropout(activation_dropout)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, 1, 1 or T, T) or None -> (B, T, D)."""
        return self.feed(x + self.dropout(self.attention(self.attention_norm(x), keep)))

    def step(self, x: Tensor, past: Past | None, context: int) -> tuple[Tensor, Past]:
        """One chunk: (B, T, D), past -> (B, T, D), past."""
        y, past = self.attention.step(self.attention_norm(x), past, context)
        return self.feed(x + y), past

    def feed(self, x: Tensor) -> Tensor:
        """The second half, every frame by itself: (B, T, D) -> (B, T, D)."""
        y = self.activation_dropout(F.gelu(self.fc1(self.ffn_norm(x))))
        return x + self.dropout(self.fc2(y))


class TransformerEncoder(nn.Module):
    """Convolutional positions, a stack of pre-norm layers, a final norm. Padding never changes a kept frame.

    Args:
        layerdrop: probability of skipping each layer in training (Fan et al. 2020).
        causal: of the positions; attention is bounded by the chunks it is given.
        context: frames before its own chunk that a frame may look at.
    Shape:
        forward: x (B, T, D), padding_mask (B, T) or None, chunk (frames; None: the whole clip) -> (B, T, D)
        layers_of: the same -> one (B, T, D) for each layer, or for the first `until`, before the final norm
        step: x (B, T, D), one chunk of any length, state -> (B, T, D), state
    """

    layer_class: type[TransformerLayer] = TransformerLayer

    def __init__(
        self,
        dim: int,
        *,
        n_layers: int,
        ffn_dim: int,
        heads: int,
        conv_pos: int,
        conv_pos_groups: int,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        activation_dropout: float = 0.0,
        layerdrop: float = 0.0,
        causal: bool = False,
        context: int = 100,
    ) -> None:
        super().__init__()
        self.layerdrop, self.context = layerdrop, context
        self.positions = ConvPositionalEmbedding(dim, conv_pos, conv_pos_groups, causal=causal)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            self.layer_class(
                dim,
                ffn_dim=ffn_dim,
                heads=heads,
                dropout=dropout,
                attention_dropout=attention_dropout,
                activation_dropout=activation_dropout,
            )
            for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(dim)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=LINEAR_STD)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None, chunk: int | None = None) -> Tensor:
        """(B, T, D), (B, T) or None -> (B, T, D)."""
        return self.leave(self.layers_of(x, padding_mask, chunk)[-1])

    def enter(self, x: Tensor) -> Tensor:
        """What the first layer sees, from features with their positions: (B, T, D) -> (B, T, D)."""
        return self.dropout(x)

    def leave(self, x: Tensor) -> Tensor:
        """The encoder's output, from the last layer's: (B, T, D) -> (B, T, D)."""
        return self.norm(x)

    def step(self, x: Tensor, state: Sequence[Any] | None = None) -> tuple[Tensor, list[Any]]:
        """The next chunk: (B, T, D), state -> (B, T, D), state."""
        if not self.positions.causal:
            raise ValueError("only causal positions run step by step; run the whole clip.")
        shift, *pasts = state if state is not None else [None] * (1 + len(self.layers))
        y, shift = self.positions.step(x, shift)
        x = self.enter(x + y)
        new: list[Any] = [shift]
        for layer, past in zip(self.layers, pasts, strict=True):
            x, past = cast(TransformerLayer, layer).step(x, past, self.context)
            new.append(past)
        return self.leave(x), new

    def layers_of(
        self,
        x: Tensor,
        padding_mask: Tensor | None = None,
        chunk: int | None = None,
        until: int | None = None,
    ) -> list[Tensor]:
        """The output of every layer, or of the first `until`, before the final norm: (B, T, D) each."""
        keep = None if chunk is None else chunk_mask(x.shape[1], chunk, self.context, x.device)
        if padding_mask is not None:
            x = x.masked_fill(padding_mask[..., None], 0.0)
            keep = join_masks(keep, ~padding_mask[:, None, None, :])
        x = self.enter(x + self.positions(x))
        outputs = []
        for layer in list(self.layers)[:until]:
            skipped = self.training and self.layerdrop > 0 and float(torch.rand(())) < self.layerdrop
            x = x if skipped else layer(x, keep)
            outputs.append(x)
        return outputs


def chunk_mask(time: int, chunk: int, context: int, device: torch.device) -> Tensor:
    """Who may look at whom, (T, T) bool: row i is True at its own chunk and `context` frames before that."""
    if chunk < 1:
        raise ValueError(f"a chunk must have at least one frame, got {chunk}.")
    frame = torch.arange(time, device=device)
    first = frame - frame % chunk
    return (frame >= first[:, None] - context) & (frame < first[:, None] + chunk)


def join_masks(chunks: Tensor | None, kept: Tensor) -> Tensor:
    """Chunks (T, T) and kept frames (B, 1, 1, T) as one mask.

    A padded frame may look at itself: a row without any would be no number.
    """
    if chunks is None:
        return kept
    return chunks & (kept | torch.eye(len(chunks), dtype=torch.bool, device=kept.device))
