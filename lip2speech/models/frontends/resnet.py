"""A front end without a transformer: the stem and trunk of AV-HuBERT alone, one vector for each video frame.

What lip2speech-unit without AV-HuBERT (Choi, Kim, Ro 2023) reads lips with: its heads look over time instead.
Knows nothing of mel, units or codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from lip2speech.modules.resnet import LipResNet


@dataclass(frozen=True)
class ResNetConfig:
    """Sizes; the defaults are the published ones.

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
    """Each frame by itself, but for the two to each side that the stem sees.

    Padded frames are zeros to it, as in its training, and have a vector like all others.

    Shape:
        forward: video (B, 1, T, 88, 88), padding_mask (B, T) or None -> (B, T, 8 * trunk_width)
    """

    def __init__(self, config: ResNetConfig | None = None):
        super().__init__()
        self.config = c = config or ResNetConfig()
        self.resnet = LipResNet(c.resnet_width, c.activation)

    def forward(self, video: Tensor, padding_mask: Tensor | None = None, chunk: int | None = None) -> Tensor:
        if chunk is not None:
            raise ValueError("a front end without attention has no chunks; run the whole clip.")
        if padding_mask is not None:
            video = video.masked_fill(padding_mask[:, None, :, None, None], 0.0)
        features: Tensor = self.resnet(video)
        return features
