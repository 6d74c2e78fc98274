"""The multi-target heads of lip2speech-unit: features and a voice in; mel (100 Hz) and units (50 Hz) out.

Choi, Kim, Ro 2023, "Intelligible lip-to-speech synthesis with speech units", section 2.2. Every 25 Hz
feature is said twice, a conformer looks over the whole clip, units are read off it, and three convolutions
over it and the voice make two mel frames of each step. The voice enters the mel alone. Unlike the heads of
`heads.py` they cannot run step by step; the published ones let padding into a clip's end (`sees_padding`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lip2speech.constants import UNIT_RATE, per_video_frame
from lip2speech.models.prediction import Prediction
from lip2speech.modules.conformer import Conformer

MEL_FRAMES = 2  # for each unit
MEL_CONVS, MEL_KERNEL = 3, 3


@dataclass(frozen=True)
class ConformerHeadsConfig:
    """Sizes; the defaults are lip2speech-unit's on AV-HuBERT large.

    projection: width of the linear layer before the embedding, 0 for none (as without AV-HuBERT).
    kernel_size: of the depthwise convolutions.
    n_special_tokens: rows of the unit layer before the units themselves: fairseq's dictionary begins with 4.
    conv_over_padding: convolutions read what is past a clip's end in its batch, as published. Without it a clip
        gives in any batch what it gives alone.
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
        """Whether every one of these `Prediction` fields comes out of such heads."""
        return set(names) <= {"mel", "unit_logits", "speaker"}


class ConformerHeads(nn.Module):
    """Features to Prediction (two tasks, one voice).

    Args:
        channels: C of the front end's features.
    Shape:
        features (B, T, C), speaker (B, S), padding_mask (B, T) True = padding
        -> Prediction, whose fields are channel-first
    """

    mel_mean: Tensor
    mel_std: Tensor

    def __init__(self, channels: int, config: ConformerHeadsConfig):
        super().__init__()
        self.config = c = config
        self.times = per_video_frame(UNIT_RATE)
        self.project = nn.Linear(channels, c.projection) if c.projection else nn.Identity()
        self.embed = nn.Linear(c.projection or channels, c.hidden_dim)
        self.encoder = Conformer(
            c.hidden_dim,
            n_layers=c.layers,
            ffn_dim=c.ffn_dim,
            heads=c.heads,
            kernel_size=c.kernel_size,
            dropout=c.dropout,
            sees_padding=c.conv_over_padding,
        )
        self.units = nn.Linear(c.hidden_dim, c.n_special_tokens + c.n_units)
        self.mel_convs = nn.ModuleList(
            nn.Conv1d(
                c.hidden_dim if i else c.speaker_dim + c.hidden_dim, c.hidden_dim, MEL_KERNEL, padding="same"
            )
            for i in range(MEL_CONVS)
        )
        self.dropout = nn.Dropout(c.dropout)
        self.mel = nn.Linear(c.hidden_dim, MEL_FRAMES * c.n_mels)
        self.register_buffer("mel_mean", torch.zeros(c.n_mels))
        self.register_buffer("mel_std", torch.ones(c.n_mels))

    def forward(
        self, features: Tensor, speaker: Tensor, padding_mask: Tensor | None = None, codes: Any = None
    ) -> Prediction:
        if codes is not None:
            raise ValueError("conformer heads predict no codes; train them without a codec.")
        if padding_mask is not None:
            padding_mask = padding_mask.repeat_interleave(self.times, 1)
        x = self.encode(features, padding_mask)
        keep = None if padding_mask is None or self.config.conv_over_padding else ~padding_mask
        return Prediction(
            mel=self.predict_mel(x, speaker, keep),
            unit_logits=self.units(x)[..., self.config.n_special_tokens :].transpose(
                1, 2
            ),  # (B, T, C) -> (B, C, T)
            speaker=speaker,
        )

    def encode(self, features: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Features (B, T, C), padding_mask (B, 2T) -> what both tasks are read from, (B, 2T, hidden)."""
        x = self.embed(self.project(features)).repeat_interleave(self.times, 1)
        return self.encoder(x, padding_mask)

    def predict_mel(self, x: Tensor, speaker: Tensor, keep: Tensor | None = None) -> Tensor:
        """x (B, 2T, hidden), speaker (B, S), keep (B, 2T) or None -> (B, n_mels, 4T)."""
        voice = speaker[:, None].expand(-1, x.shape[1], -1).to(x.dtype)
        y = torch.cat([voice, x], 2).transpose(1, 2)  # (B, T, C) -> (B, C, T)
        for conv in self.mel_convs:
            y = F.gelu(self.dropout(conv(y if keep is None else y * keep[:, None])))
        # Channel 2c + s is band c of the s-th of the two frames.
        pairs = self.mel(y.transpose(1, 2)).float().unflatten(2, (-1, MEL_FRAMES))  # (B, 2T, n_mels, 2)
        mel = pairs.transpose(2, 3).flatten(1, 2) * self.mel_std + self.mel_mean
        return mel.transpose(1, 2)  # (B, T, C) -> (B, C, T)

    def step(self, features: Tensor, speaker: Tensor, state: Any = None) -> tuple[Prediction, Any]:
        """A conformer sees the whole clip: ValueError."""
        raise ValueError("only causal heads run step by step; run the whole clip.")
