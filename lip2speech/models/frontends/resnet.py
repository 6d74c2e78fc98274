"""A front end without a transformer: AV-HuBERT's 3-D stem and ResNet trunk, one vector per video frame.

The front end of lip2speech-unit without AV-HuBERT (Choi, Kim, Ro 2023), whose heads see the context instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from lip2speech.modules.resnet import LipResNet


@dataclass(frozen=True)
class ResNetConfig:
    """Sizes; the defaults are the published ones.

    Args:
        kind: selects this front end in a config.
        resnet_width: channels of the first stage; the vectors have 8 times as many.
        activation: prelu, relu or swish.
    """

    kind: Literal["resnet"] = "resnet"
    resnet_width: int = 64
    activation: str = "swish"

    causal: ClassVar[bool] = False

    @property
    def embed_dim(self) -> int:
        """C of the features."""
        return 8 * self.resnet_width


class ResNetFrontEnd(nn.Module):
    """Frame by frame, except for the two frames on either side that the stem sees.

    Padded frames are replaced by zeros, as in its training, and have a vector like all others.

    Shape:
        forward: video (B, 1, T, 88, 88), padding_mask (B, T) or None -> (B, T, 8 * resnet_width)
    """

    def __init__(self, config: ResNetConfig | None = None):
        super().__init__()
        self.config = c = config or ResNetConfig()
        self.resnet = LipResNet(c.resnet_width, c.activation)

    def forward(self, video: Tensor, padding_mask: Tensor | None = None, chunk: int | None = None) -> Tensor:
        """(B, 1, T, 88, 88), (B, T) or None -> (B, T, C)."""
        if chunk is not None:
            raise ValueError("a front end without attention has no chunks; run the whole clip.")
        if padding_mask is not None:
            video = video.masked_fill(padding_mask[:, None, :, None, None], 0.0)
        features: Tensor = self.resnet(video)
        return features
