"""The multi-target heads of lip2speech-unit: lip features to mel (100 Hz) and units (50 Hz) by a conformer.

Choi, Kim, Ro 2023, "Intelligible lip-to-speech synthesis with speech units", section 2.2. Each 25 Hz feature
is repeated twice, a conformer encodes the whole clip, a linear layer predicts units, and three convolutions
over encoding and speaker embedding predict two mel frames per step. Only the mel is conditioned on the
speaker. Unlike the heads of `conv.py` they do not run step by step; in the published ones padding affects the
end of a clip (`conv_over_padding`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lip2speech.constants import MEL_RATE, UNIT_RATE, per_video_frame
from lip2speech.models.prediction import Prediction
from lip2speech.modules.conformer import Conformer

MEL_FRAMES_PER_UNIT = MEL_RATE // UNIT_RATE
MEL_CONVS, MEL_KERNEL = 3, 3


@dataclass(frozen=True)
class ConformerHeadsConfig:
    """Sizes; the defaults are lip2speech-unit's on AV-HuBERT large.

    Args:
        kind: selects these heads in a config.
        hidden_dim: D of the conformer.
        projection: width of the linear layer before the embedding, 0 for none (as without AV-HuBERT).
        layers: of the conformer.
        ffn_dim: of the conformer.
        heads: of the conformer.
        kernel_size: of the depthwise convolutions.
        dropout: of all layers.
        speaker_dim: S of the speaker embedding.
        n_mels: mel bands.
        n_units: size of the unit vocabulary.
        n_special_tokens: rows of the unit layer before the units: fairseq's dictionary begins with 4.
        conv_over_padding: convolutions see the padding after a clip, as published; else the output of a clip
            does not depend on its batch.
    """

    kind: Literal["conformer"] = "conformer"
    hidden_dim: int = 512
    projection: int = 512
    layers: int = 12
    ffn_dim: int = 2048
    heads: int = 8
    kernel_size: int = 31
    dropout: float = 0.1
    speaker_dim: int = 256
    n_mels: int = 80
    n_units: int = 200
    n_special_tokens: int = 4
    conv_over_padding: bool = True

    n_q: ClassVar[int] = 0
    codebook_sizes: ClassVar[tuple[int, ...]] = ()
    code_frame_rate: ClassVar[int] = UNIT_RATE
    pitch_dim: ClassVar[int] = 0
    causal: ClassVar[bool] = False

    def predicts(self, names: Iterable[str]) -> bool:
        """Whether these heads predict all of these `Prediction` fields."""
        return set(names) <= {"mel", "unit_logits", "speaker"}


class ConformerHeads(nn.Module):
    """Features and a speaker embedding to a Prediction.

    Args:
        channels: C of the front end's features.
        config: sizes.

    Shape:
        forward: features (B, T, C), speaker (B, S), padding_mask (B, T) True = padding
            -> Prediction with channel-first fields
    """

    mel_mean: Tensor
    mel_std: Tensor

    def __init__(self, channels: int, config: ConformerHeadsConfig):
        super().__init__()
        self.config = c = config
        self.units_per_frame = per_video_frame(UNIT_RATE)
        self.project = nn.Linear(channels, c.projection) if c.projection else nn.Identity()
        self.embed = nn.Linear(c.projection or channels, c.hidden_dim)
        self.encoder = Conformer(
            c.hidden_dim,
            n_layers=c.layers,
            ffn_dim=c.ffn_dim,
            heads=c.heads,
            kernel_size=c.kernel_size,
            dropout=c.dropout,
            conv_over_padding=c.conv_over_padding,
        )
        self.units = nn.Linear(c.hidden_dim, c.n_special_tokens + c.n_units)
        self.mel_convs = nn.ModuleList(
            nn.Conv1d(
                c.hidden_dim if i else c.speaker_dim + c.hidden_dim, c.hidden_dim, MEL_KERNEL, padding="same"
            )
            for i in range(MEL_CONVS)
        )
        self.dropout = nn.Dropout(c.dropout)
        self.mel = nn.Linear(c.hidden_dim, MEL_FRAMES_PER_UNIT * c.n_mels)
        self.register_buffer("mel_mean", torch.zeros(c.n_mels))
        self.register_buffer("mel_std", torch.ones(c.n_mels))

    def forward(
        self, features: Tensor, speaker: Tensor, padding_mask: Tensor | None = None, codes: Any = None
    ) -> Prediction:
        """(B, T, C), (B, S), (B, T) or None -> Prediction of T frames."""
        if codes is not None:
            raise ValueError("conformer heads predict no codes; train them without a codec.")
        if padding_mask is not None:
            padding_mask = padding_mask.repeat_interleave(self.units_per_frame, 1)
        x = self.encode(features, padding_mask)
        mask = None if padding_mask is None or self.config.conv_over_padding else ~padding_mask
        unit_logits = self.units(x)[..., self.config.n_special_tokens :]
        return Prediction(
            mel=self.predict_mel(x, speaker, mask),
            unit_logits=unit_logits.transpose(1, 2),  # (B, T, C) -> (B, C, T)
            speaker=speaker,
        )

    def encode(self, features: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Features (B, T, C), padding_mask (B, 2T) or None -> input of both tasks (B, 2T, D)."""
        x = self.embed(self.project(features)).repeat_interleave(self.units_per_frame, 1)
        out: Tensor = self.encoder(x, padding_mask)
        return out

    def predict_mel(self, x: Tensor, speaker: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, 2T, D), speaker (B, S), mask (B, 2T) or None (True = valid) -> (B, n_mels, 4T)."""
        speaker = speaker[:, None].expand(-1, x.shape[1], -1).to(x.dtype)
        y = torch.cat([speaker, x], 2).transpose(1, 2)  # (B, T, C) -> (B, C, T)
        for conv in self.mel_convs:
            y = F.gelu(self.dropout(conv(y if mask is None else y * mask[:, None])))
        # Channel 2c + s is band c of the s-th of the two frames: (B, 2T, n_mels, 2).
        pairs = self.mel(y.transpose(1, 2)).float().unflatten(2, (-1, MEL_FRAMES_PER_UNIT))
        mel = pairs.transpose(2, 3).flatten(1, 2) * self.mel_std + self.mel_mean
        out: Tensor = mel.transpose(1, 2)  # (B, T, C) -> (B, C, T)
        return out

    def step(self, features: Tensor, speaker: Tensor, state: Any = None) -> tuple[Prediction, Any]:
        """ValueError: a conformer sees the whole clip."""
        raise ValueError("only causal heads run step by step; run the whole clip.")
