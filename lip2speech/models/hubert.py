"""HuBERT: audio to one feature vector per 20 ms, on which speech units are clustered.

Hsu, Bolte, Tsai, Lakhotia, Salakhutdinov, Mohamed 2021, "HuBERT: Self-Supervised Speech Representation
Learning by Masked Prediction of Hidden Units", section III. Seven convolutions (wav2vec 2.0, Baevski et al.
2020), a projection, convolutional positions and a post-norm transformer: the base model (the large ones are
pre-norm). The head used in pretraining is `frontends/masked_prediction.py`.

    wav 16 kHz --(10, 5) (3, 2) x 4 (2, 2) x 2--> 512 at 50 Hz --norm, proj--> 768 --12 layers--> features
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lip2speech import checkpoint
from lip2speech.config import from_dict
from lip2speech.modules.transformer import TransformerEncoder


@dataclass(frozen=True)
class HubertConfig:
    """Sizes and dropouts; the defaults are the published base model.

    Args:
        conv_dim: channels of every convolution.
        conv_kernels: kernel of each convolution.
        conv_strides: stride of each convolution.
        encoder_layers: of the transformer.
        embed_dim: of the transformer.
        ffn_dim: of the transformer.
        heads: of the transformer.
        conv_pos: kernel of the convolutional positions.
        conv_pos_groups: groups of the convolutional positions.
        dropout: of residual branches.
        attention_dropout: of attention weights.
        activation_dropout: after the feed-forward's activation.
        dropout_input: after the projection.
        layerdrop: probability of skipping a layer in training.
    """

    conv_dim: int = 512
    conv_kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    encoder_layers: int = 12
    embed_dim: int = 768
    ffn_dim: int = 3072
    heads: int = 12
    conv_pos: int = 128
    conv_pos_groups: int = 16
    dropout: float = 0.1
    attention_dropout: float = 0.1
    activation_dropout: float = 0.0
    dropout_input: float = 0.1
    layerdrop: float = 0.05

    def __post_init__(self) -> None:
        if not self.conv_kernels or len(self.conv_kernels) != len(self.conv_strides):
            raise ValueError(
                "conv_kernels and conv_strides must have one number for each convolution, got "
                f"{self.conv_kernels} and {self.conv_strides}."
            )

    @property
    def hop_length(self) -> int:
        """Samples from one feature vector to the next."""
        return math.prod(self.conv_strides)


class ConvFeatureExtractor(nn.Module):
    """Strided convolutions without padding, each followed by a GELU; a group norm after the first.

    The norm has one group per channel, so its statistics are over the whole input, padding included.

    Shape:
        forward: wav (B, 1, T_a) -> (B, C, T), T = (T_a - receptive_field) // hop_length + 1
    """

    def __init__(self, dim: int, kernels: tuple[int, ...], strides: tuple[int, ...]) -> None:
        super().__init__()
        self.kernels, self.strides = kernels, strides
        inputs = [1, *[dim] * (len(kernels) - 1)]
        self.convs = nn.ModuleList(
            nn.Conv1d(channels, dim, kernel, stride=stride, bias=False)
            for channels, kernel, stride in zip(inputs, kernels, strides, strict=True)
        )
        self.norm = nn.GroupNorm(dim, dim)
        for weight in self.convs.parameters():
            nn.init.kaiming_normal_(weight)

    def forward(self, wav: Tensor) -> Tensor:
        """(B, 1, T_a) -> (B, C, T)."""
        first, *rest = self.convs
        x = F.gelu(self.norm(first(wav)))
        for conv in rest:
            x = F.gelu(conv(x))
        return x

    @property
    def receptive_field(self) -> int:
        """Samples that one frame sees."""
        samples = 1
        for kernel, stride in zip(reversed(self.kernels), reversed(self.strides), strict=True):
            samples = (samples - 1) * stride + kernel
        return samples


class Hubert(nn.Module):
    """Audio encoder.

    Layers are counted from 1, as in papers that cluster their features: layer 6 is the output of the sixth.

    Args:
        config: sizes.

    Shape:
        forward: wav (B, 1, T_a) at 16 kHz in [-1, 1], padding_mask (B, T_a) bool or None (True = padding)
            -> (B, T, C) of the last layer, C = config.embed_dim
        hidden_states: the same -> (B, T, C) of each layer, or of the first `until`
        extract_features: the same and a layer -> its (B, T, C); later layers are not run
    """

    def __init__(self, config: HubertConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = config.embed_dim
        self.feature_extractor = ConvFeatureExtractor(
            config.conv_dim, config.conv_kernels, config.conv_strides
        )
        self.feature_norm = nn.LayerNorm(config.conv_dim)
        # As published: no projection if both widths are equal.
        self.proj = nn.Linear(config.conv_dim, self.dim) if config.conv_dim != self.dim else nn.Identity()
        self.dropout_input = nn.Dropout(config.dropout_input)
        self.encoder = TransformerEncoder(
            self.dim,
            n_layers=config.encoder_layers,
            ffn_dim=config.ffn_dim,
            heads=config.heads,
            conv_pos=config.conv_pos,
            conv_pos_groups=config.conv_pos_groups,
            dropout=config.dropout,
            attention_dropout=config.attention_dropout,
            activation_dropout=config.activation_dropout,
            layerdrop=config.layerdrop,
            norm_first=False,
        )

    def forward(self, wav: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, 1, T_a), (B, T_a) or None -> (B, T, C)."""
        return self.hidden_states(wav, padding_mask)[-1]

    def extract_features(self, wav: Tensor, layer: int, padding_mask: Tensor | None = None) -> Tensor:
        """Output of one layer, counted from 1: (B, 1, T_a), (B, T_a) or None -> (B, T, C)."""
        self.check_layer(layer)
        return self.hidden_states(wav, padding_mask, layer)[-1]

    def hidden_states(
        self, wav: Tensor, padding_mask: Tensor | None = None, until: int | None = None
    ) -> list[Tensor]:
        """Output of each layer, the first one first: (B, 1, T_a), (B, T_a) or None -> (B, T, C) each."""
        self._check(wav, padding_mask)
        x = self.feature_extractor(wav).transpose(1, 2)  # (B, C, T) -> (B, T, C)
        mask = None if padding_mask is None else frame_mask(padding_mask, x.shape[1])
        x = self.dropout_input(self.proj(self.feature_norm(x)))
        return self.encoder.hidden_states(x, mask, until=until)

    def check_layer(self, layer: int) -> None:
        """ValueError unless the model has this layer."""
        if not 1 <= layer <= self.config.encoder_layers:
            raise ValueError(f"layer must be in 1..{self.config.encoder_layers}, got {layer}.")

    def _check(self, wav: Tensor, padding_mask: Tensor | None) -> None:
        """ValueError for a wav or a mask of another shape, or a wav too short for one frame."""
        if wav.dim() != 3 or wav.shape[1] != 1 or not len(wav):
            raise ValueError(f"wav must be (B, 1, T_a), got {tuple(wav.shape)}.")
        min_samples = self.feature_extractor.receptive_field
        if wav.shape[2] < min_samples:
            raise ValueError(f"wav must have at least {min_samples} samples, got {wav.shape[2]}.")
        if padding_mask is None:
            return
        if padding_mask.dtype != torch.bool or padding_mask.shape != (len(wav), wav.shape[2]):
            found = f"{padding_mask.dtype} {tuple(padding_mask.shape)}"
            raise ValueError(f"padding_mask must be bool {(len(wav), wav.shape[2])}, got {found}.")


def frame_mask(padding_mask: Tensor, frames: int) -> Tensor:
    """Padding mask at the frame rate: (B, T_a) bool -> (B, T) bool.

    The published rule: samples are divided evenly among the frames, the remainder at the end is ignored, and
    a frame is padding if all of its samples are.
    """
    samples = padding_mask.shape[1] // frames
    out: Tensor = padding_mask[:, : samples * frames].unflatten(1, (frames, samples)).all(2)
    return out


def hubert_from_checkpoint(loaded: checkpoint.Checkpoint) -> Hubert:
    """The encoder of a folder written by `import_hubert`, in eval mode.

    Raises:
        CheckpointError: the folder holds something else.
    """
    loaded.require("hubert", keys=("hubert",))
    config = from_dict(HubertConfig, loaded.config["hubert"], f"{loaded.folder}: hubert")
    tensors = loaded.subset("hubert.")
    return checkpoint.build_and_load(lambda: Hubert(config), config, tensors, "hubert").eval()
