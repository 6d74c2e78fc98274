"""HuBERT: sound into one feature vector for every 20 ms, the ground on which speech units are clustered.

Hsu, Bolte, Tsai, Lakhotia, Salakhutdinov, Mohamed 2021, "HuBERT: Self-Supervised Speech Representation
Learning by Masked Prediction of Hidden Units", section III. Seven convolutions (wav2vec 2.0, Baevski et al.
2020), a projection, convolutional positions, a post-norm transformer: the base model; the large ones norm
elsewhere. The cluster head of its pretraining is the one of `clusters.py`. Knows nothing of k-means.

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
from lip2speech.modules.postnorm import PostNormEncoder
from lip2speech.restore import restore


@dataclass(frozen=True)
class HubertConfig:
    """Sizes and dropouts; the defaults are the published base model.

    conv_dim: channels of every convolution; conv_kernels, conv_strides: one number for each.
    encoder_layers, embed_dim, ffn_dim, heads: the transformer.
    conv_pos, conv_pos_groups: kernel and groups of the convolutional positions.
    dropout_input: after the projection; layerdrop: chance of skipping a layer in training.
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
    """Strided convolutions without padding, GELU after each; the first is normed over time.

    The norm of the first (one group for each channel) sees the whole input, zeros of padding too.

    Shape:
        forward: wav (B, 1, T_a) -> (B, C, T), T = (T_a - field) // hop + 1
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
    def field(self) -> int:
        """Samples that one frame sees."""
        samples = 1
        for kernel, stride in zip(reversed(self.kernels), reversed(self.strides), strict=True):
            samples = (samples - 1) * stride + kernel
        return samples


class Hubert(nn.Module):
    """Sound encoder.

    Layers count from 1, as in the papers that cluster them: layer 6 is the output of the sixth.

    Args:
        config: sizes.
    Shape:
        forward: wav (B, 1, T_a) at 16 kHz in [-1, 1], padding_mask (B, T_a) bool or None (True = padding)
                 -> (B, T, C), C = config.embed_dim, of the last layer
        layers:  the same -> one (B, T, C) for each layer, or for the first `until`
        features: the same and a layer -> its (B, T, C); later layers are not run
    """

    def __init__(self, config: HubertConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = config.embed_dim
        self.wave = ConvFeatureExtractor(config.conv_dim, config.conv_kernels, config.conv_strides)
        self.wave_norm = nn.LayerNorm(config.conv_dim)
        # As published: where both widths are equal there is no projection.
        self.proj = nn.Linear(config.conv_dim, self.dim) if config.conv_dim != self.dim else nn.Identity()
        self.dropout_input = nn.Dropout(config.dropout_input)
        self.encoder = PostNormEncoder(
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
        )

    def forward(self, wav: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, 1, T_a), (B, T_a) or None -> (B, T, C)."""
        return self.layers(wav, padding_mask)[-1]

    def features(self, wav: Tensor, layer: int, padding_mask: Tensor | None = None) -> Tensor:
        """The output of one layer, counted from 1: (B, 1, T_a), (B, T_a) or None -> (B, T, C)."""
        self.check_layer(layer)
        return self.layers(wav, padding_mask, layer)[-1]

    def layers(
        self, wav: Tensor, padding_mask: Tensor | None = None, until: int | None = None
    ) -> list[Tensor]:
        """Each layer's output, the first layer first: (B, 1, T_a), (B, T_a) or None -> (B, T, C) each."""
        self._check(wav, padding_mask)
        x = self.wave(wav).transpose(1, 2)  # (B, C, T) -> (B, T, C)
        padded = None if padding_mask is None else frame_mask(padding_mask, x.shape[1])
        x = self.dropout_input(self.proj(self.wave_norm(x)))
        return self.encoder.layers_of(x, padded, until=until)

    def check_layer(self, layer: int) -> None:
        """Raise ValueError unless the model has this layer."""
        if not 1 <= layer <= self.config.encoder_layers:
            raise ValueError(f"layer must be in 1..{self.config.encoder_layers}, got {layer}.")

    def _check(self, wav: Tensor, padding_mask: Tensor | None) -> None:
        """Raise ValueError for a wav or a mask of another shape, or too short for one frame."""
        if wav.dim() != 3 or wav.shape[1] != 1 or not len(wav):
            raise ValueError(f"wav must be (B, 1, T_a), got {tuple(wav.shape)}.")
        if wav.shape[2] < self.wave.field:
            raise ValueError(f"wav must have at least {self.wave.field} samples, got {wav.shape[2]}.")
        if padding_mask is None:
            return
        if padding_mask.dtype != torch.bool or padding_mask.shape != (len(wav), wav.shape[2]):
            found = f"{padding_mask.dtype} {tuple(padding_mask.shape)}"
            raise ValueError(f"padding_mask must be bool {(len(wav), wav.shape[2])}, got {found}.")


def frame_mask(padding_mask: Tensor, frames: int) -> Tensor:
    """Which frames are padding: (B, T_a) bool -> (B, T) bool.

    The published rule: samples are dealt out to the frames evenly, what is left at the end is not looked at,
    and a frame whose samples are all padding is padding.
    """
    share = padding_mask.shape[1] // frames
    return padding_mask[:, : share * frames].unflatten(1, (frames, share)).all(2)


def hubert_of(loaded: checkpoint.Checkpoint) -> Hubert:
    """The encoder of a folder written by `import_hubert`, in eval mode.

    Raises:
        ValueError: the folder holds something else.
    """
    if loaded.config.get("kind") != "hubert":
        raise ValueError(f"{loaded.folder} holds {loaded.config.get('kind')!r}, expected hubert.")
    if "hubert" not in loaded.config:
        raise checkpoint.CheckpointError(f"{loaded.folder}: its config has no hubert.")
    config = from_dict(HubertConfig, loaded.config["hubert"], f"{loaded.folder}: hubert")
    return restore(lambda: Hubert(config), config, loaded.part("hubert."), "hubert").eval()
