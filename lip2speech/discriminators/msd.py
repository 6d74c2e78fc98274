"""Multi-scale waveform discriminator of MelGAN and SoundStream.

Zeghidour et al. 2021 (SoundStream), section III-D: the waveform at three resolutions, with the kernels of
MelGAN (Kumar et al. 2019): 15, four times 41, 5 and 3. HiFi-GAN uses it too.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from lip2speech.discriminators.base import MultiDiscriminator, norm_conv1d

LEAKY_SLOPE = 0.2
GROUP_WIDTH = 4  # input channels of each group of a grouped convolution
STRIDE = 4  # of each grouped convolution; also the growth of the channels


@dataclass(frozen=True)
class MSDConfig:
    """Sizes of the multi-scale discriminator: filters of its first layer, number of resolutions."""

    filters: int = 16
    max_filters: int = 1024
    layers: int = 4
    scales: int = 3

    def __post_init__(self) -> None:
        if self.filters % GROUP_WIDTH or self.max_filters % GROUP_WIDTH:
            raise ValueError(
                f"filters and max_filters must be multiples of {GROUP_WIDTH}, got {self.filters} and "
                f"{self.max_filters}."
            )


class ScaleDiscriminator(nn.Module):
    """Discriminator of one resolution.

    Args:
        config: sizes.
        n_halvings: how often the wav is downsampled by 2 first.

    Shape:
        wav (B, 1, T_a) -> logits (B, 1, T), list of feature maps (B, C_i, T_i)
    """

    def __init__(self, config: MSDConfig, n_halvings: int):
        super().__init__()
        self.n_halvings, width = n_halvings, config.filters
        convs: list[nn.Module] = [norm_conv1d(1, width, 15)]
        for _ in range(config.layers):
            wider = min(STRIDE * width, config.max_filters)
            convs.append(
                norm_conv1d(width, wider, 10 * STRIDE + 1, stride=STRIDE, groups=width // GROUP_WIDTH)
            )
            width = wider
        self.convs = nn.ModuleList([*convs, norm_conv1d(width, width, 5)])
        self.conv_post = norm_conv1d(width, 1, 3)

    def forward(self, wav: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits and feature maps."""
        x = wav
        for _ in range(self.n_halvings):
            x = F.avg_pool1d(x, 4, 2, 1, count_include_pad=False)
        features = []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), LEAKY_SLOPE)
            features.append(x)
        return self.conv_post(x), features


class MultiScaleDiscriminator(MultiDiscriminator):
    """The waveform at 1, 1/2, 1/4, ... of the sample rate, one discriminator each."""

    def __init__(self, config: MSDConfig):
        super().__init__(ScaleDiscriminator(config, n_halvings) for n_halvings in range(config.scales))
