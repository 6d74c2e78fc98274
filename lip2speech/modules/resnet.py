"""The visual front end: a 3-D stem and a ResNet-18 trunk, one vector per video frame.

Stafylakis and Tzimiropoulos (2017, "Combining residual networks with LSTMs for lipreading", section 3.1) put
one spatio-temporal convolution before a ResNet-18 (He et al. 2016) that processes frame by frame; AV-HuBERT
(Shi et al. 2022, appendix A) uses it with PReLU. The stem sees two frames on either side, a causal stem the
four frames before.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lip2speech.modules.fusing import fold_batch_norm

STEM_KERNEL = (5, 7, 7)  # frames, rows, columns
STEM_PADDING = (2, 3, 3)
STAGE_STRIDES = (1, 2, 2, 2)
BLOCKS_PER_STAGE = 2  # ResNet-18

ACTIVATIONS: dict[str, Callable[[int], nn.Module]] = {
    "prelu": nn.PReLU,
    "relu": lambda channels: nn.ReLU(inplace=True),
    "swish": lambda channels: nn.SiLU(),
}


def make_activation(name: str, channels: int) -> nn.Module:
    """One activation layer for (B, channels, H, W); PReLU has a slope per channel."""
    if name not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {name!r}.")
    return ACTIVATIONS[name](channels)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; the second activation comes after the addition.

    Shape:
        forward: (N, in_channels, H, W) -> (N, channels, H / stride, W / stride), rounded up
    """

    def __init__(self, in_channels: int, channels: int, stride: int, activation: str) -> None:
        super().__init__()
        self.stride = stride
        self.conv1: nn.Module = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.norm1: nn.Module = nn.BatchNorm2d(channels)
        self.act1 = make_activation(activation, channels)
        self.conv2: nn.Module = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2: nn.Module = nn.BatchNorm2d(channels)
        self.act2 = make_activation(activation, channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, channels, H', W')."""
        y = self.act1(self.norm1(self.conv1(x)))
        # Slicing replaces the stride: oneDNN's strided 1x1 convolution of fewer than 16 channels writes past
        # the end of its gradients for an odd number of images (PyTorch 2.14) and crashes the process.
        out: Tensor = self.act2(
            self.norm2(self.conv2(y)) + self.shortcut(x[..., :: self.stride, :: self.stride])
        )
        return out

    def fold(self) -> None:
        """For inference only: fuse batch norms into the convolutions before them."""
        if isinstance(self.norm1, nn.Identity):
            return
        self.conv1, self.norm1 = fold_batch_norm(self.conv1, self.norm1), nn.Identity()
        self.conv2, self.norm2 = fold_batch_norm(self.conv2, self.norm2), nn.Identity()
        if len(self.shortcut):
            self.shortcut = nn.Sequential(fold_batch_norm(*self.shortcut))


class ResNetTrunk(nn.Module):
    """ResNet-18 without its own stem: four stages of two blocks, then the mean over the image.

    Shape:
        forward: (N, width, H, W) -> (N, 8 * width)
    """

    def __init__(self, width: int, activation: str) -> None:
        super().__init__()
        channels = width
        stages = []
        for index, stride in enumerate(STAGE_STRIDES):
            blocks = []
            for block in range(BLOCKS_PER_STAGE):
                out = width * 2**index
                blocks.append(BasicBlock(channels, out, stride if block == 0 else 1, activation))
                channels = out
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) -> (N, 8 * width)."""
        for stage in self.stages:
            x = stage(x)
        return x.mean((2, 3))


class LipResNet(nn.Module):
    """3-D stem and ResNet-18 trunk: one vector per video frame.

    Padded frames are zeros to the stem, like what follows a clip, and do not enter the trunk, so they cost
    nothing and do not affect batch statistics.

    Args:
        width: channels of the first stage; the published network has 64, the vector 8 times as many.
        activation: "prelu" as published, "relu" or "swish".
        stem_stride: 2 and a max pooling, as published; or 4 without it, at a quarter of the stem's cost.
        causal: the stem sees no later frame.

    Shape:
        forward: video (B, 1, T, H, W), padding_mask (B, T) or None -> (B, T, 8 * width); zeros where padded
        step:    video (B, 1, T, H, W), state (B, 1, 4, H, W) or None -> (B, T, 8 * width), state
    """

    def __init__(
        self, width: int = 64, activation: str = "prelu", stem_stride: int = 2, *, causal: bool = False
    ) -> None:
        super().__init__()
        if stem_stride not in (2, 4):
            raise ValueError(f"stem_stride must be 2 or 4, got {stem_stride}.")
        self.width, self.stem_stride, self.causal = width, stem_stride, causal
        stride, padding = (1, stem_stride, stem_stride), STEM_PADDING
        if causal:
            padding = (0, *STEM_PADDING[1:])
        self.stem: nn.Module = nn.Conv3d(1, width, STEM_KERNEL, stride, padding, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(width)
        self.act = make_activation(activation, width)
        self.trunk = ResNetTrunk(width, activation)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """He initialization by fan-out, as published; channels-last, which is faster on CPUs."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                fan_out = math.prod(module.kernel_size) * module.out_channels
                nn.init.trunc_normal_(module.weight, std=math.sqrt(2 / fan_out))
        self.stem.to(memory_format=torch.channels_last_3d)
        self.trunk.to(memory_format=torch.channels_last)

    def forward(self, video: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, 1, T, H, W), (B, T) or None -> (B, T, 8 * width)."""
        if video.dim() != 5 or video.shape[1] != 1:
            raise ValueError(f"video must be (B, 1, T, H, W), got {tuple(video.shape)}.")
        batch, _, time = video.shape[:3]
        if padding_mask is not None:
            video = video.masked_fill(padding_mask[:, None, :, None, None], 0.0)
        if self.causal:
            video = F.pad(video, (0, 0, 0, 0, STEM_KERNEL[0] - 1, 0))
        x = self.run_stem(video)
        if padding_mask is None:
            return self.run_trunk(x).view(batch, time, -1)
        valid = ~padding_mask.flatten()
        vectors = self.run_trunk(x[valid])
        out = vectors.new_zeros(batch * time, vectors.shape[-1])
        return out.masked_scatter(valid[:, None], vectors).view(batch, time, -1)

    def step(self, video: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Next frames (B, 1, T, H, W), the four frames before them -> (B, T, 8 * width), state."""
        if not self.causal:
            raise ValueError("only a causal stem runs step by step; run the whole clip.")
        batch, _, time, *size = video.shape
        context = STEM_KERNEL[0] - 1
        if state is None:
            state = video.new_zeros(batch, 1, context, *size)
        video = torch.cat([state, video], 2)
        return self.run_trunk(self.run_stem(video)).view(batch, time, -1), video[:, :, -context:]

    def run_stem(self, video: Tensor) -> Tensor:
        """The stem's convolution: (B, 1, T, H, W) -> (B * T', width, H', W')."""
        # With one channel, channels-last is the same memory, and the output has the layout the trunk prefers.
        x = self.stem(video.to(memory_format=torch.channels_last_3d))
        out: Tensor = x.transpose(1, 2).flatten(0, 1)  # still channels-last
        return out

    def run_trunk(self, x: Tensor) -> Tensor:
        """Everything after the stem's convolution: (N, width, H, W) -> (N, 8 * width)."""
        x = self.act(self.norm(x))
        out: Tensor = self.trunk(F.max_pool2d(x, 3, 2, 1) if self.stem_stride == 2 else x)
        return out

    def fold(self) -> None:
        """For inference only: fuse the stem's batch norm into its convolution."""
        if isinstance(self.norm, nn.Identity):
            return
        self.stem, self.norm = fold_batch_norm(self.stem, self.norm), nn.Identity()
