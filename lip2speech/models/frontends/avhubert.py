"""AV-HuBERT's encoder: video, audio or both to one feature vector per video frame (25 Hz).

Shi, Hsu, Lakhotia, Mohamed 2022, "Learning audio-visual speech representation by masked multimodal cluster
prediction", section 3. One class for every size: tiny (ours, for CPUs), base and large (as
published). The head used in pretraining is `masked_prediction.py`.
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

State = Any  # passed from one step to the next; None before the first


@dataclass(frozen=True)
class AVHubertConfig:
    """Sizes and dropouts; the defaults are the published base model.

    Args:
        resnet_width: channels of the ResNet's first stage (its output has 8 times as many).
        activation: of the ResNet: prelu, relu or swish.
        stem_stride: of the ResNet's stem: 2 and a max pooling as published, or 4 without it.
        encoder_layers: of the transformer.
        embed_dim: of the transformer.
        ffn_dim: of the transformer.
        heads: of the transformer.
        conv_pos: kernel of the convolutional positions.
        conv_pos_groups: groups of the convolutional positions.
        audio_feat_dim: audio features per video frame (26 log filterbanks x 4).
        dropout: of residual branches.
        attention_dropout: of attention weights.
        activation_dropout: after the feed-forward's activation.
        dropout_input: after the fusion.
        layerdrop: probability of skipping a layer in training.
        causal: stem and positions see no later frame, so that a clip can be processed in chunks.
        left_context: frames before its chunk that a frame attends to.
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


SIZES = {
    # At width 16, PReLU is as slow on a CPU as its convolution: tiny trains 1.7 times faster with ReLU.
    "tiny": AVHubertConfig(
        resnet_width=16,
        activation="relu",
        stem_stride=4,
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
"""Tiny is the front end of the bundled models, base and large are as published."""


class AVHubert(nn.Module):
    """Audio-visual encoder; a missing modality is zeros after its projection, as published.

    Args:
        config: sizes.

    Shape:
        forward: video (B, 1, T, 88, 88) or None, audio (B, 104, T) or None, padding_mask (B, T) bool or None
            (True = padding), chunk (frames; None: the whole clip) -> (B, T, C), C = config.embed_dim
        hidden_states: the same without chunks -> (B, T, C) of each layer, before the final norm
        step: one chunk of video (B, 1, T, 88, 88), state -> (B, T, C), state; causal models only
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
            left_context=config.left_context,
        )

    def forward(
        self,
        video: Tensor | None = None,
        audio: Tensor | None = None,
        padding_mask: Tensor | None = None,
        chunk: int | None = None,
    ) -> Tensor:
        """(B, 1, T, 88, 88) and/or (B, 104, T), (B, T) -> (B, T, C)."""
        out: Tensor = self.encoder(self.embed(video, audio, padding_mask), padding_mask, chunk)
        return out

    def step(self, video: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Next chunk: (B, 1, T, 88, 88), state -> (B, T, C), state."""
        resnet_state, encoder_state = (None, None) if state is None else state
        vectors, resnet_state = self.resnet.step(video, resnet_state)
        fused = self.fuse(self.video_proj(vectors), None)
        features, encoder_state = self.encoder.step(fused, encoder_state)
        return features, (resnet_state, encoder_state)

    def hidden_states(
        self, video: Tensor | None = None, audio: Tensor | None = None, padding_mask: Tensor | None = None
    ) -> list[Tensor]:
        """Output of each layer before the final norm, the first one first: (B, T, C) each."""
        return self.encoder.hidden_states(self.embed(video, audio, padding_mask), padding_mask)

    def extract_features(
        self, layer: int, video: Tensor | None = None, audio: Tensor | None = None
    ) -> Tensor:
        """Output of one layer, counted from 1, before the final norm: (B, T, C)."""
        self.check_layer(layer)
        return self.encoder.hidden_states(self.embed(video, audio, None), until=layer)[-1]

    def check_layer(self, layer: int) -> None:
        """ValueError unless the model has this layer, counted from 1."""
        if not 1 <= layer <= self.config.encoder_layers:
            raise ValueError(f"layer must be 1 .. {self.config.encoder_layers}, got {layer}.")

    def embed(self, video: Tensor | None, audio: Tensor | None, padding_mask: Tensor | None) -> Tensor:
        """Input of the transformer: (B, 1, T, 88, 88) and/or (B, 104, T), (B, T) or None -> (B, T, C)."""
        self._check(video, audio, padding_mask)
        video_features = None if video is None else self.video_features(video, padding_mask)
        audio_features = None if audio is None else self.audio_features(audio)
        return self.fuse(video_features, audio_features)

    def fuse(self, video_features: Tensor | None, audio_features: Tensor | None) -> Tensor:
        """Features of both modalities (B, T, C), concatenated audio first and projected -> (B, T, C)."""
        given = video_features if video_features is not None else audio_features
        assert given is not None, "_check requires at least one modality"
        both = [torch.zeros_like(given) if x is None else x for x in (audio_features, video_features)]
        out: Tensor = self.dropout_input(self.fusion_proj(self.fusion_norm(torch.cat(both, dim=-1))))
        return out

    def video_features(self, video: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, 1, T, 88, 88), (B, T) or None -> (B, T, C)."""
        out: Tensor = self.video_proj(self.resnet(video, padding_mask))
        return out

    def audio_features(self, audio: Tensor) -> Tensor:
        """(B, 104, T) -> (B, T, C)."""
        out: Tensor = self.audio_proj(audio.transpose(1, 2))
        return out

    def _check(self, video: Tensor | None, audio: Tensor | None, padding_mask: Tensor | None) -> None:
        """ValueError unless video, audio and padding_mask agree on batch and time."""
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


CHECKPOINT_KINDS = {
    "avhubert": ("", "frontend."),
    "lip-model": ("model", "frontend."),
    "lip2speech": ("model", "model.frontend."),
}
"""Kind of a folder with an AV-HuBERT -> the group of its config, the prefix of its tensors."""


def avhubert_from_checkpoint(loaded: checkpoint.Checkpoint) -> tuple[AVHubert, Transform]:
    """The front end of an imported AV-HuBERT or of a lip model, in eval mode, and its input transform.

    Raises:
        CheckpointError: the folder holds something else, or its config and weights do not fit.
        ValueError: a front end of another kind.
    """
    group, prefix = CHECKPOINT_KINDS[loaded.require(*CHECKPOINT_KINDS).config["kind"]]
    values = loaded.config.get(group, {}) if group else loaded.config
    if "frontend" not in values or "transform" not in loaded.config:
        raise checkpoint.CheckpointError(f"{loaded.folder}: its config has no frontend or no transform.")
    config = from_dict(AVHubertConfig, values["frontend"], f"{loaded.folder}: frontend")
    transform = from_dict(Transform, loaded.config["transform"], f"{loaded.folder}: transform")
    tensors = loaded.subset(prefix)
    return checkpoint.build_and_load(lambda: AVHubert(config), config, tensors, "frontend").eval(), transform
