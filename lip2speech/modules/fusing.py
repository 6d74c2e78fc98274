"""A trained model made faster for this CPU, its output unchanged beyond rounding (1e-5 of its maximum).

Three steps, all exact in real numbers: batch norms fold into the convolutions before them, weight norms into
their weights, and linear layers are packed for oneDNN where a measurement on this very machine says that it
helps (on AMD processors PyTorch's own path reaches less than half of what the processor can do; on Intel's it
does not). A prepared model can no longer be trained, saved or moved to another device. Knows no model:
whatever has a `fold` method folds itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TOKENS = 75  # frames that a measurement takes for typical: three seconds of video
ROUNDS = 3  # measurements of each kind, alternating
CLEAR_GAIN = 0.8  # packed must take at most this share of the plain time
TOLERANCE = 1e-5  # of the largest output


@dataclass(frozen=True)
class Prepared:
    """What `prepare` did: modules folded, linear layers packed, linear layers left as they were."""

    folded: int
    packed: int
    plain: int


class PackedLinear(nn.Module):
    """A linear layer whose weight lies in oneDNN's own order.

    Shape:
        forward: (..., in_features) -> (..., out_features) float32
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), TOKENS)
        self.bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x.float(), self.packed, self.bias, "none", [], "")
        return y


def prepare(model: nn.Module) -> Prepared:
    """Make a model in evaluation mode faster, in place.

    Which layers are packed, and with it the last bits of the output, may differ from one call to the next.
    """
    folded = fold(model)
    packed, plain = _pack_linears(model)
    return Prepared(folded, packed, plain)


def fold(model: nn.Module) -> int:
    """The first half of `prepare`, the same on every machine and every time: how many modules were folded."""
    if model.training:
        raise ValueError("the model is in training mode; call eval() first.")
    folds = [getattr(module, "fold", None) for module in model.modules()]
    for fold_one in filter(None, folds):
        fold_one()
    return sum(one is not None for one in folds)


def fold_batch_norm(conv: nn.Module, norm: nn.Module) -> nn.Module:
    """One convolution that does both: y = norm(conv(x))."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    folded: nn.Module = fuse_conv_bn_eval(conv, norm)  # type: ignore[type-var, arg-type]
    return folded


def _pack_linears(model: nn.Module) -> tuple[int, int]:
    """Replace linear layers by packed ones where that is faster: how many were, how many were not."""
    faster: dict[tuple[int, int], bool] = {}
    packed = plain = 0
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is not nn.Linear:
                continue
            shape = (child.in_features, child.out_features)
            if shape not in faster:
                faster[shape] = packing_helps(child)
            if faster[shape]:
                setattr(parent, name, PackedLinear(child))
            packed += faster[shape]
            plain += not faster[shape]
    return packed, plain


@torch.no_grad()
def packing_helps(linear: nn.Linear) -> bool:
    """Whether the packed layer is here, is right, and is clearly faster than PyTorch's own."""
    weight = linear.weight
    usable = weight.device.type == "cpu" and weight.dtype == torch.float32
    if not usable or not torch.backends.mkldnn.is_available():
        return False
    x = torch.randn(1, TOKENS, linear.in_features)
    expected = F.linear(x, weight, linear.bias)
    try:
        packed = PackedLinear(linear)
        found = packed(x)
    except (AttributeError, NotImplementedError, RuntimeError):  # PyTorch's inner operators may change
        return False
    if not torch.allclose(found, expected, rtol=0, atol=TOLERANCE * float(expected.abs().max())):
        return False
    times = [(_seconds(lambda: linear(x)), _seconds(lambda: packed(x))) for _ in range(ROUNDS)]
    plain_time, packed_time = (min(column) for column in zip(*times, strict=True))
    return packed_time < CLEAR_GAIN * plain_time


def _seconds(run: Callable[[], Tensor]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
