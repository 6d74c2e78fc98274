"""The transformer encoder of HuBERT and AV-HuBERT: convolutional positions, then pre-norm layers.

Vaswani et al. 2017 for attention; Baevski et al. 2020 (wav2vec 2.0, section 2) for positions by a grouped
convolution; the pre-norm order is AV-HuBERT's (`layer_norm_first`). Knows nothing of video or sound.
Not causal: every frame sees the whole clip.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LINEAR_STD = 0.02  # BERT's initial spread, which HuBERT keeps


class ConvPositions(nn.Module):
    """Relative positions by one wide grouped convolution, weight-normed over each tap (dim 2).

    `weight_g` (1, 1, K) holds each tap's norm, `weight_v` (D, D / groups, K) its direction.

    Shape:
        forward: (B, T, D) -> (B, T, D)
    """

    def __init__(self, dim: int, kernel: int, groups: int) -> None:
        super().__init__()
        if dim % groups:
            raise ValueError(f"embed_dim must be a multiple of conv_pos_groups, got {dim} and {groups}.")
        self.kernel, self.groups = kernel, groups
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
        y = F.conv1d(
            x.transpose(1, 2), self.weight(), self.bias, padding=self.kernel // 2, groups=self.groups
        )
        # An even kernel padded on both sides gives one frame too many; the published network drops the last.
        return F.gelu(y[..., : x.shape[1]]).transpose(1, 2)


class SelfAttention(nn.Module):
    """Multi-head self-attention.

    Shape:
        forward: x (B, T, D), keep (B, 1, 1, T) bool or None (True = may be looked at) -> (B, T, D)
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
        """(B, T, D), (B, 1, 1, T) or None -> (B, T, D)."""
        shape = (*x.shape[:2], self.heads, -1)
        q, k, v = (proj(x).view(shape).transpose(1, 2) for proj in (self.q_proj, self.k_proj, self.v_proj))
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=keep, dropout_p=dropout)
        return self.out_proj(y.transpose(1, 2).flatten(2))


class TransformerLayer(nn.Module):
    """Pre-norm layer: x + attention(norm(x)), then x + feed_forward(norm(x)).

    Shape:
        forward: x (B, T, D), keep (B, 1, 1, T) bool or None -> (B, T, D)
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
        """(B, T, D), (B, 1, 1, T) or None -> (B, T, D)."""
        x = x + self.dropout(self.attention(self.attention_norm(x), keep))
        y = self.activation_dropout(F.gelu(self.fc1(self.ffn_norm(x))))
        return x + self.dropout(self.fc2(y))


class TransformerEncoder(nn.Module):
    """Convolutional positions, a stack of pre-norm layers, a final norm. Padding never changes a kept frame.

    Args:
        layerdrop: probability of skipping each layer in training (Fan et al. 2020).
    Shape:
        forward: x (B, T, D), padding_mask (B, T) or None -> (B, T, D)
        layers_of: the same -> one (B, T, D) for each layer, before the final norm
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
    ) -> None:
        super().__init__()
        self.layerdrop = layerdrop
        self.positions = ConvPositions(dim, conv_pos, conv_pos_groups)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            TransformerLayer(
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

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, T) or None -> (B, T, D)."""
        return self.norm(self.layers_of(x, padding_mask)[-1])

    def layers_of(self, x: Tensor, padding_mask: Tensor | None = None) -> list[Tensor]:
        """Every layer's output before the final norm: n_layers tensors (B, T, D)."""
        keep = None
        if padding_mask is not None:
            x = x.masked_fill(padding_mask[..., None], 0.0)
            keep = ~padding_mask[:, None, None, :]
        x = self.dropout(x + self.positions(x))
        outputs = []
        for layer in self.layers:
            skipped = self.training and self.layerdrop > 0 and float(torch.rand(())) < self.layerdrop
            x = x if skipped else layer(x, keep)
            outputs.append(x)
        return outputs
