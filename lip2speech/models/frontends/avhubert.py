"""AV-HuBERT's encoder: lips, or sound, or both, into one feature vector for each video frame (25 Hz).

Shi, Hsu, Lakhotia, Mohamed 2022, "Learning audio-visual speech representation by masked multimodal cluster
prediction", section 3. One class for every size: tiny (ours, for CPUs), base and large (as published).
Knows nothing of mel, units or codes; what only pretraining needs is in `clusters.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lip2speech import checkpoint
from lip2speech.config import from_dict
from lip2speech.models.frontends.transforms import Transform
from lip2speech.modules.resnet import LipResNet
from lip2speech.modules.transformer import TransformerEncoder
from lip2speech.restore import restore


@dataclass(frozen=True)
class AVHubertConfig:
    """Sizes and dropouts; the defaults are the published base model.

    resnet_width: channels of the ResNet's first stage (its output has 8 times as many).
    activation: of the ResNet: prelu, relu or swish.
    stem_stride: of its stem: 2 and a pooling as published, or 4 without one.
    encoder_layers, embed_dim, ffn_dim, heads: the transformer.
    conv_pos, conv_pos_groups: kernel and groups of the convolutional positions.
    audio_feat_dim: sound features for each video frame (26 log filterbanks x 4).
    dropout_input: after the fusion; layerdrop: chance of skipping a layer in training.
    causal: stem and positions see no later frame, so that a clip may come in chunks; context: how many frames
    before its chunk a frame then looks at.
    """

    resnet_width: int = 64
    activation: str = "prelu"
    stem_stride: int = 2
    encoder_layers: int = 12
    embed_dim: int = 768
    ffn_dim: int = 3072
    heads: int = 12
    conv_pos: int = 128
    conv_pos_groups: int = 16
    audio_feat_dim: int = 104
    dropout: float = 0.1
    attention_dropout: float = 0.1
    activation_dropout: float = 0.0
    dropout_input: float = 0.1
    layerdrop: float = 0.05
    causal: bool = False
    left_context: int = 100


State = Any  # what a step hands to the next one; None before the first

# At width 16 a PReLU costs a CPU as much as its convolution: with ReLU, tiny trains 1.7 times faster.
SIZES = {
    "tiny": AVHubertConfig(
        resnet_width=16,
        activation="relu",
        encoder_layers=4,
        embed_dim=256,
        ffn_dim=1024,
        heads=4,
        conv_pos=32,
        layerdrop=0.0,
    ),
    "base": AVHubertConfig(),
    "large": AVHubertConfig(encoder_layers=24, embed_dim=1024, ffn_dim=4096, heads=16),
}


class AVHubert(nn.Module):
    """Audio-visual encoder; a stream that is not given counts as zeros after its projection, as published.

    Args:
        config: sizes; `SIZES` names three.
    Shape:
        forward: video (B, 1, T, 88, 88) or None, audio (B, 104, T) or None, padding_mask (B, T) bool or None
                 (True = padding), chunk (frames; None: the whole clip) -> (B, T, C), C = config.embed_dim
        layers:  the same without chunks -> one (B, T, C) for each layer, before the final norm
        step:    one chunk of video (B, 1, T, 88, 88), state -> (B, T, C), state; causal models alone
    """

    def __init__(self, config: AVHubertConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = config.embed_dim
        self.resnet = LipResNet(
            config.resnet_width, config.activation, config.stem_stride, causal=config.causal
        )
        self.video_proj = nn.Linear(8 * config.resnet_width, self.dim)
        self.audio_proj = nn.Linear(config.audio_feat_dim, self.dim)
        self.fusion_norm = nn.LayerNorm(2 * self.dim)
        self.fusion_proj = nn.Linear(2 * self.dim, self.dim)
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
            causal=config.causal,
            context=config.left_context,
        )

    def forward(
        self,
        video: Tensor | None = None,
        audio: Tensor | None = None,
        padding_mask: Tensor | None = None,
        chunk: int | None = None,
    ) -> Tensor:
        """(B, 1, T, 88, 88) and/or (B, 104, T), (B, T) -> (B, T, C)."""
        return self.encoder(self.fuse(video, audio, padding_mask), padding_mask, chunk)

    def step(self, video: Tensor, state: State = None) -> tuple[Tensor, State]:
        """The next chunk: (B, 1, T, 88, 88), state -> (B, T, C), state."""
        seen, heard = (None, None) if state is None else state
        vectors, seen = self.resnet.step(video, seen)
        features, heard = self.encoder.step(self.join(self.video_proj(vectors), None), heard)
        return features, (seen, heard)

    def layers(
        self, video: Tensor | None = None, audio: Tensor | None = None, padding_mask: Tensor | None = None
    ) -> list[Tensor]:
        """Each layer's output before the final norm, the first layer first: (B, T, C) each."""
        return self.encoder.layers_of(self.fuse(video, audio, padding_mask), padding_mask)

    def features(self, layer: int, video: Tensor | None = None, audio: Tensor | None = None) -> Tensor:
        """The output of one layer, counted from 1, before the final norm: (B, T, C)."""
        self.check_layer(layer)
        return self.encoder.layers_of(self.fuse(video, audio, None), until=layer)[-1]

    def check_layer(self, layer: int) -> None:
        """ValueError unless there is such a layer, counted from 1."""
        if not 1 <= layer <= self.config.encoder_layers:
            raise ValueError(f"layer must be 1 .. {self.config.encoder_layers}, got {layer}.")

    def fuse(self, video: Tensor | None, audio: Tensor | None, padding_mask: Tensor | None) -> Tensor:
        """Both streams joined, the sound first, and brought to the encoder's width: (B, T, C)."""
        self._check(video, audio, padding_mask)
        seen = None if video is None else self.video_features(video, padding_mask)
        heard = None if audio is None else self.audio_features(audio)
        return self.join(seen, heard)

    def join(self, seen: Tensor | None, heard: Tensor | None) -> Tensor:
        """Both streams (B, T, C), zeros for one that is not there -> (B, T, C)."""
        given = seen if seen is not None else heard
        assert given is not None, "_check lets no call through without a stream"
        both = [torch.zeros_like(given) if x is None else x for x in (heard, seen)]
        return self.dropout_input(self.fusion_proj(self.fusion_norm(torch.cat(both, dim=-1))))

    def video_features(self, video: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, 1, T, 88, 88), (B, T) or None -> (B, T, C)."""
        return self.video_proj(self.resnet(video, padding_mask))

    def audio_features(self, audio: Tensor) -> Tensor:
        """(B, 104, T) -> (B, T, C)."""
        return self.audio_proj(audio.transpose(1, 2))

    def _check(self, video: Tensor | None, audio: Tensor | None, padding_mask: Tensor | None) -> None:
        """Raise ValueError unless the streams agree on batch and time."""
        if video is None and audio is None:
            raise ValueError(
                "neither video nor audio was given; give (B, 1, T, 88, 88), (B, 104, T) or both."
            )
        sizes: dict[str, tuple[int, int]] = {}
        if video is not None:
            if video.dim() != 5 or video.shape[1] != 1:
                raise ValueError(f"video must be (B, 1, T, 88, 88), got {tuple(video.shape)}.")
            sizes["video"] = (video.shape[0], video.shape[2])
        if audio is not None:
            if audio.dim() != 3 or audio.shape[1] != self.config.audio_feat_dim:
                expected = self.config.audio_feat_dim
                raise ValueError(f"audio must be (B, {expected}, T), got {tuple(audio.shape)}.")
            sizes["audio"] = (audio.shape[0], audio.shape[2])
        if padding_mask is not None:
            if padding_mask.dtype != torch.bool or padding_mask.dim() != 2:
                found = f"{padding_mask.dtype} {tuple(padding_mask.shape)}"
                raise ValueError(f"padding_mask must be bool (B, T), True = padding, got {found}.")
            sizes["padding_mask"] = (padding_mask.shape[0], padding_mask.shape[1])
        if len(set(sizes.values())) > 1:
            given = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise ValueError(f"video, audio and padding_mask must agree on (B, T), got {given}.")
        if 0 in next(iter(sizes.values())):
            raise ValueError(
                f"a clip must have at least one frame, got (B, T) = {next(iter(sizes.values()))}."
            )


HOLDERS = {
    "avhubert": ("", "frontend."),
    "lip-model": ("model", "frontend."),
    "lip2speech": ("model", "model.frontend."),
}
"""Kind of a folder that holds an AV-HuBERT -> the group of its config, how its tensors' names begin."""


def avhubert_of(loaded: checkpoint.Checkpoint) -> tuple[AVHubert, Transform]:
    """The front end of an import or of a lip model, in eval mode, and what its crops go through.

    Raises:
        ValueError: the folder holds something else, or a front end of another kind.
        CheckpointError: its config and its weights do not fit.
    """
    kind = loaded.config.get("kind")
    if kind not in HOLDERS:
        raise ValueError(f"{loaded.folder} holds {kind!r}, expected one of {', '.join(HOLDERS)}.")
    group, prefix = HOLDERS[kind]
    values = loaded.config.get(group, {}) if group else loaded.config
    if "frontend" not in values or "transform" not in loaded.config:
        raise checkpoint.CheckpointError(f"{loaded.folder}: its config lacks a frontend or its transform.")
    config = from_dict(AVHubertConfig, values["frontend"], f"{loaded.folder}: frontend")
    transform = from_dict(Transform, loaded.config["transform"], f"{loaded.folder}: transform")
    return restore(lambda: AVHubert(config), config, loaded.part(prefix), "frontend").eval(), transform
