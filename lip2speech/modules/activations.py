"""Activations: a faster ELU (Clevert et al. 2016) for CPUs, and the gated activation of WaveNet and PixelCNN.

PyTorch's ELU uses `expm1`, which some releases (such as 2.14) do not vectorize on CPUs; it then takes more
than half of a SEANet's training step. Here elu(x) = max(x, exp(min(x, 0)) - 1), 8 times faster there and
equal to 6e-8. On other devices it is PyTorch's.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ELU(nn.Module):
    """x above zero, exp(x) - 1 below.

    Shape:
        forward: any -> the same
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        if x.device.type != "cpu":
            return F.elu(x)
        return _ELU.apply(x) if torch.is_grad_enabled() else _elu(x)


def _elu(x: Tensor) -> Tensor:
    y = x.clamp(max=0).exp_().sub_(1)
    return torch.maximum(y, x, out=y)


class _ELU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = _elu(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        # The slope is exp(x) = y + 1 below zero and 1 above.
        out: Tensor = torch.ops.aten.elu_backward(grad, 1.0, 1.0, 1.0, True, y)
        return out


def gated_activation(x: Tensor) -> Tensor:
    """tanh(filter) * sigmoid(gate), halves of the channels: (B, 2C, ...) -> (B, C, ...).

    van den Oord et al. 2016 (Conditional image generation with PixelCNN decoders), equation 2.
    """
    filtered, gate = x.chunk(2, 1)
    return filtered.tanh() * gate.sigmoid()
