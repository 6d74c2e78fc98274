"""The transformer encoder of HuBERT and AV-HuBERT: convolutional positions, then self-attention layers.

Vaswani et al. 2017 for attention; Baevski et al. 2020 (wav2vec 2.0, section 2) for positions by a grouped
convolution. With `norm_first` (fairseq's `layer_norm_first`, AV-HuBERT) layers are pre-norm and a final norm
follows the last one; without (HuBERT base, Hsu et al. 2021, section III-A) they are post-norm and the norm
precedes the first one.

A frame attends to the whole clip or, in chunks, to its own chunk and `left_context` frames before it. A
causal encoder then also runs chunk by chunk, with the same output as one pass over the whole clip in chunks:

    chunk 3, left_context 4:   frames  0 1 2 | 3 4 5 | 6 7 8        5 attends to 0 .. 5, 6 to 2 .. 8
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MIN_BF16_GROUP_WIDTH = 16
"""Channels per group: below, PyTorch 2.14 computes bfloat16 convolutions wrongly on CPUs with AMX."""
LINEAR_STD = 0.02  # BERT's initialization, also HuBERT's

KVCache = tuple[Tensor, Tensor]
"""Keys and values of the frames before a chunk."""


class ConvPositionalEmbedding(nn.Module):
    """Relative positions by one wide grouped convolution with a weight norm over each tap (dim 2).

    `weight_g` (1, 1, K) holds the norm of each tap, `weight_v` (D, D / groups, K) its direction.

    Args:
        dim: D.
        kernel: K.
        groups: of the convolution.
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
        tap_norm = std * math.sqrt(dim * dim / groups)  # expected norm of a tap
        self.weight_v = nn.Parameter(torch.empty(dim, dim // groups, kernel))
        self.weight_g: nn.Parameter | None = nn.Parameter(torch.full((1, 1, kernel), tap_norm))
        self.bias = nn.Parameter(torch.zeros(dim))
        nn.init.trunc_normal_(self.weight_v, std=std)

    def weight(self) -> Tensor:
        """The convolution's weight: (D, D / groups, K)."""
        if self.weight_g is None:
            return self.weight_v
        out: Tensor = self.weight_v * (self.weight_g / self.weight_v.norm(dim=(0, 1), keepdim=True))
        return out

    def fold(self) -> None:
        """For inference only: compute the weight once."""
        with torch.no_grad():
            self.weight_v = nn.Parameter(self.weight())
        self.weight_g = None

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        if self.causal:
            return self.step(x)[0]
        y = self.convolve(x, self.kernel // 2)
        # An even kernel padded on both sides yields one frame too many; the published network drops the last.
        return F.gelu(y[..., : x.shape[1]]).transpose(1, 2)

    def step(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Next frames (B, T, D), the K - 1 frames before them -> (B, T, D), state."""
        context = self.kernel - 1
        if state is None:
            state = x.new_zeros(len(x), context, x.shape[-1])
        x = torch.cat([state, x], 1)
        return F.gelu(self.convolve(x, 0)).transpose(1, 2), x[:, x.shape[1] - context :]

    def convolve(self, x: Tensor, padding: int) -> Tensor:
        """(B, T, D) -> (B, D, T'), in float32 where bfloat16 is wrong."""
        x, weight = x.transpose(1, 2), self.weight()
        wide = weight.shape[1] >= MIN_BF16_GROUP_WIDTH
        if x.device.type != "cpu" or wide or not torch.is_autocast_enabled("cpu"):
            return F.conv1d(x, weight, self.bias, padding=padding, groups=self.groups)
        with torch.autocast("cpu", enabled=False):
            return F.conv1d(x.float(), weight, self.bias, padding=padding, groups=self.groups)


class SelfAttention(nn.Module):
    """Multi-head self-attention.

    Shape:
        forward: x (B, T, D), mask bool that broadcasts to (B, 1, T, T), or None (True = may be attended to)
                 -> (B, T, D)
        step: x (B, T, D), cached keys and values (B, heads, S, D / heads) -> (B, T, D), cache
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

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, D), (B, 1, 1 or T, T) or None -> (B, T, D)."""
        q, k, v = self.project(x)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        out: Tensor = self.out_proj(y.transpose(1, 2).flatten(2))
        return out

    def step(self, x: Tensor, cache: KVCache | None, left_context: int) -> tuple[Tensor, KVCache]:
        """Next chunk (B, T, D), keys and values of at most `left_context` frames -> (B, T, D), cache."""
        q, k, v = self.project(x)
        if cache is not None:
            k, v = (torch.cat(pair, 2) for pair in zip(cache, (k, v), strict=True))
        y = F.scaled_dot_product_attention(q, k, v)
        first = max(0, k.shape[2] - left_context)
        return self.out_proj(y.transpose(1, 2).flatten(2)), (k[:, :, first:], v[:, :, first:])

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, D) -> queries, keys and values, (B, heads, T, D / heads) each."""
        shape = (*x.shape[:2], self.heads, -1)
        q, k, v = (proj(x).view(shape).transpose(1, 2) for proj in (self.q_proj, self.k_proj, self.v_proj))
        return q, k, v


class TransformerLayer(nn.Module):
    """Pre-norm layer, x + attention(norm(x)) then x + ffn(norm(x)); post-norm without `norm_first`.

    Post-norm is norm(x + attention(x)), then norm(x + ffn(x)).

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
        norm_first: bool = True,
    ) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = SelfAttention(dim, heads, attention_dropout)
        self.ffn_norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, ffn_dim)
        self.fc2 = nn.Linear(ffn_dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.activation_dropout = nn.Dropout(activation_dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, 1, 1 or T, T) or None -> (B, T, D)."""
        if self.norm_first:
            return self.feed_forward(x + self.dropout(self.attention(self.attention_norm(x), mask)))
        return self.feed_forward(self.attention_norm(x + self.dropout(self.attention(x, mask))))

    def step(self, x: Tensor, cache: KVCache | None, left_context: int) -> tuple[Tensor, KVCache]:
        """Next chunk: (B, T, D), cache -> (B, T, D), cache."""
        if self.norm_first:
            y, cache = self.attention.step(self.attention_norm(x), cache, left_context)
            return self.feed_forward(x + y), cache
        y, cache = self.attention.step(x, cache, left_context)
        return self.feed_forward(self.attention_norm(x + y)), cache

    def feed_forward(self, x: Tensor) -> Tensor:
        """The second residual branch and its norm, frame by frame: (B, T, D) -> (B, T, D)."""
        y = self.ffn_norm(x) if self.norm_first else x
        y = x + self.dropout(self.fc2(self.activation_dropout(F.gelu(self.fc1(y)))))
        out: Tensor = y if self.norm_first else self.ffn_norm(y)
        return out


class TransformerEncoder(nn.Module):
    """Convolutional positions, a stack of layers, a norm. Padding never changes a valid frame.

    Args:
        dim: D.
        n_layers: number of layers.
        ffn_dim: hidden size of the feed-forward layers.
        heads: of the attention.
        conv_pos: kernel of the convolutional positions.
        conv_pos_groups: groups of the convolutional positions.
        dropout: of both residual branches and of the first layer's input.
        attention_dropout: of attention weights.
        activation_dropout: after the feed-forward's activation.
        layerdrop: probability of skipping each layer in training (Fan et al. 2020).
        norm_first: pre-norm layers and a final norm; else post-norm layers and a norm before the first.
        causal: causal positions; attention is bounded by the chunks.
        left_context: frames before its chunk that a frame attends to.

    Shape:
        forward: x (B, T, D), padding_mask (B, T) or None, chunk (frames; None: the whole clip) -> (B, T, D)
        hidden_states: the same -> (B, T, D) for each layer, or for the first `until`, before the final norm
        step: x (B, T, D), one chunk of any length, state -> (B, T, D), state
    """

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
        norm_first: bool = True,
        causal: bool = False,
        left_context: int = 100,
    ) -> None:
        super().__init__()
        self.layerdrop, self.norm_first, self.left_context = layerdrop, norm_first, left_context
        self.positions = ConvPositionalEmbedding(dim, conv_pos, conv_pos_groups, causal=causal)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            TransformerLayer(
                dim,
                ffn_dim=ffn_dim,
                heads=heads,
                dropout=dropout,
                attention_dropout=attention_dropout,
                activation_dropout=activation_dropout,
                norm_first=norm_first,
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
        return self.final_norm(self.hidden_states(x, padding_mask, chunk)[-1])

    def embed_input(self, x: Tensor) -> Tensor:
        """Input of the first layer, from features with positions added: (B, T, D) -> (B, T, D)."""
        out: Tensor = self.dropout(x if self.norm_first else self.norm(x))
        return out

    def final_norm(self, x: Tensor) -> Tensor:
        """The encoder's output, from that of the last layer: (B, T, D) -> (B, T, D)."""
        return self.norm(x) if self.norm_first else x

    def step(self, x: Tensor, state: Sequence[Any] | None = None) -> tuple[Tensor, list[Any]]:
        """Next chunk: (B, T, D), state -> (B, T, D), state."""
        if not self.positions.causal:
            raise ValueError("only causal positions run step by step; run the whole clip.")
        positions_state, *caches = state if state is not None else [None] * (1 + len(self.layers))
        y, positions_state = self.positions.step(x, positions_state)
        x = self.embed_input(x + y)
        new_state: list[Any] = [positions_state]
        for layer, cache in zip(self.layers, caches, strict=True):
            x, cache = cast(TransformerLayer, layer).step(x, cache, self.left_context)
            new_state.append(cache)
        return self.final_norm(x), new_state

    def hidden_states(
        self,
        x: Tensor,
        padding_mask: Tensor | None = None,
        chunk: int | None = None,
        until: int | None = None,
    ) -> list[Tensor]:
        """Output of each layer, or of the first `until`, before the final norm: (B, T, D) each."""
        mask = None if chunk is None else chunk_mask(x.shape[1], chunk, self.left_context, x.device)
        if padding_mask is not None:
            x = x.masked_fill(padding_mask[..., None], 0.0)
            mask = combine_masks(mask, ~padding_mask[:, None, None, :])
        x = self.embed_input(x + self.positions(x))
        outputs = []
        for layer in list(self.layers)[:until]:
            skip = self.training and self.layerdrop > 0 and float(torch.rand(())) < self.layerdrop
            x = x if skip else layer(x, mask)
            outputs.append(x)
        return outputs


def chunk_mask(time: int, chunk: int, left_context: int, device: torch.device) -> Tensor:
    """Attention mask (T, T) bool: row i is True at its own chunk and at `left_context` frames before it."""
    if chunk < 1:
        raise ValueError(f"a chunk must have at least one frame, got {chunk}.")
    frame = torch.arange(time, device=device)
    first = frame - frame % chunk
    return (frame >= first[:, None] - left_context) & (frame < first[:, None] + chunk)


def combine_masks(chunks: Tensor | None, valid: Tensor) -> Tensor:
    """Combine a chunk mask (T, T) and valid frames (B, 1, 1, T) into one attention mask.

    A padded frame may attend to itself: a row without any True would give NaN.
    """
    if chunks is None:
        return valid
    return chunks & (valid | torch.eye(len(chunks), dtype=torch.bool, device=valid.device))
