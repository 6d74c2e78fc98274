"""The transformer encoder of HuBERT base and wav2vec 2.0 base: a norm after each half of a layer.

Vaswani et al. 2017, section 3.1 (the order of the paper); Hsu et al. 2021, section III-A. The weights and
their names are those of `transformer.py`, whose layers norm first; the encoder's own norm stands before the
first layer here, after the last one there. Knows nothing of sound.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from lip2speech.modules.transformer import Past, TransformerEncoder, TransformerLayer


class PostNormLayer(TransformerLayer):
    """Post-norm layer: norm(x + attention(x)), then norm(x + feed_forward(x)).

    Shape:
        forward, step: as `SelfAttention`
    """

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, 1, 1 or T, T) or None -> (B, T, D)."""
        return self.feed(self.attention_norm(x + self.dropout(self.attention(x, keep))))

    def step(self, x: Tensor, past: Past | None, context: int) -> tuple[Tensor, Past]:
        """One chunk: (B, T, D), past -> (B, T, D), past."""
        y, past = self.attention.step(x, past, context)
        return self.feed(self.attention_norm(x + y)), past

    def feed(self, x: Tensor) -> Tensor:
        """The second half, every frame by itself: (B, T, D) -> (B, T, D)."""
        y = self.activation_dropout(F.gelu(self.fc1(x)))
        return self.ffn_norm(x + self.dropout(self.fc2(y)))


class PostNormEncoder(TransformerEncoder):
    """Convolutional positions, a norm, a stack of post-norm layers.

    Args, Shape: as `TransformerEncoder`; the last layer's output is the encoder's.
    """

    layer_class = PostNormLayer

    def enter(self, x: Tensor) -> Tensor:
        """What the first layer sees, from features with their positions: (B, T, D) -> (B, T, D)."""
        return self.dropout(self.norm(x))

    def leave(self, x: Tensor) -> Tensor:
        """The encoder's output, from the last layer's: (B, T, D) -> (B, T, D)."""
        return x
