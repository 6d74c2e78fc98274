"""Fusing for inference: batch norms into the convolutions before them; exact up to rounding.

A fused model can no longer be trained or saved. Modules with a `fold` method fuse themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torch import nn


def fold(model: nn.Module) -> int:
    """Call `fold` of every module of a model in eval mode; returns how many have one."""
    if model.training:
        raise ValueError("the model is in training mode; call eval() first.")
    folds: list[Callable[[], None]] = [
        cast(Any, module).fold for module in model.modules() if hasattr(module, "fold")
    ]
    for fold_module in folds:
        fold_module()
    return len(folds)


def fold_batch_norm(conv: nn.Module, norm: nn.Module) -> nn.Module:
    """One convolution equal to norm(conv(x))."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    folded: nn.Module = fuse_conv_bn_eval(conv, norm)  # type: ignore[type-var, arg-type]
    return folded
