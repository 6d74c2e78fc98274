"""The lip-to-speech model: a front end and heads, from normalized mouth crops to a Prediction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from lip2speech.models.frontends import FRONTENDS
from lip2speech.models.frontends.avhubert import AVHubertConfig
from lip2speech.models.frontends.resnet import ResNetConfig
from lip2speech.models.heads.codes import TeacherCodes
from lip2speech.models.heads.conformer import ConformerHeads, ConformerHeadsConfig
from lip2speech.models.heads.conv import Heads, HeadsConfig
from lip2speech.models.prediction import Prediction

AnyHeadsConfig = HeadsConfig | ConformerHeadsConfig
HEADS: dict[type, Any] = {HeadsConfig: Heads, ConformerHeadsConfig: ConformerHeads}
"""The class for each config."""


@dataclass(frozen=True)
class ModelConfig:
    """Front end and heads; the defaults are AV-HuBERT base with full-size convolutional heads.

    Other implementations are chosen by their `kind`: `resnet` for the front end, `conformer` for the heads.
    """

    frontend: AVHubertConfig | ResNetConfig = field(default_factory=AVHubertConfig)
    heads: AnyHeadsConfig = field(default_factory=HeadsConfig)


class LipModel(nn.Module):
    """Front end and heads in one module.

    Shape:
        forward: video (B, 1, T, 88, 88), speaker (B, S), padding_mask (B, T) True = padding, codes to
            condition on in training (see `TeacherCodes`), chunk (frames of an attention chunk; None: the
            whole clip) -> Prediction
        step: one chunk of video, speaker, state -> Prediction, state; causal models only
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.frontend = FRONTENDS[type(config.frontend)](config.frontend)
        self.heads = HEADS[type(config.heads)](config.frontend.embed_dim, config.heads)

    def forward(
        self,
        video: Tensor,
        speaker: Tensor,
        padding_mask: Tensor | None = None,
        codes: TeacherCodes = None,
        chunk: int | None = None,
    ) -> Prediction:
        """(B, 1, T, 88, 88), (B, S) -> Prediction of T frames."""
        features = self.frontend(video=video, padding_mask=padding_mask, chunk=chunk)
        prediction: Prediction = self.heads(features, speaker, padding_mask, codes)
        return prediction

    def step(self, video: Tensor, speaker: Tensor, state: Any = None) -> tuple[Prediction, Any]:
        """Next chunk (B, 1, T, 88, 88), state (None at the start) -> Prediction of T frames, state."""
        frontend_state, heads_state = (None, None) if state is None else state
        features, frontend_state = self.frontend.step(video, frontend_state)
        prediction, heads_state = self.heads.step(features, speaker, heads_state)
        return prediction, (frontend_state, heads_state)
