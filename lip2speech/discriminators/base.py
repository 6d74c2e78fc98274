"""What the discriminators share: a container of several, and weight-normalized convolutions."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm


class MultiDiscriminator(nn.Module):
    """Several discriminators of one wav.

    Shape:
        wav (B, 1, T_a) -> logits and feature maps, a list and a list of lists, one entry per discriminator
    """

    def __init__(self, discriminators: Iterable[nn.Module]):
        super().__init__()
        self.discriminators = nn.ModuleList(discriminators)

    def forward(self, wav: Tensor) -> tuple[list[Tensor], list[list[Tensor]]]:
        """Logits and feature maps of all discriminators."""
        outputs = [discriminator(wav) for discriminator in self.discriminators]
        return [logits for logits, _ in outputs], [features for _, features in outputs]


def norm_conv1d(
    in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, groups: int = 1
) -> nn.Module:
    """A weight-normalized convolution that gives T / stride frames."""
    conv: nn.Module = weight_norm(
        nn.Conv1d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups)
    )
    return conv


def norm_conv2d(
    in_channels: int,
    out_channels: int,
    kernel_size: tuple[int, int],
    *,
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
) -> nn.Module:
    """A weight-normalized convolution, padded so that an axis of stride 1 keeps its length."""
    padding = ((kernel_size[0] - 1) * dilation[0] // 2, (kernel_size[1] - 1) * dilation[1] // 2)
    conv: nn.Module = weight_norm(
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation)
    )
    return conv
