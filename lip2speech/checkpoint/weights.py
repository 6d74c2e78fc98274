"""Tensors on their way into a module (strictly) and into a file (finite, contiguous, optionally float16)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lip2speech.checkpoint.errors import CheckpointError, list_names


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy `tensors` into every parameter and buffer of `module`.

    Raises:
        CheckpointError: a tensor is missing, unknown, of another shape, or not finite; nothing is copied.
    """
    check_state_dict(module, tensors)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(
                f"{name}: holds NaN or infinite values; the checkpoint is damaged, download it again."
            )
    module.load_state_dict(dict(tensors), strict=True)


def check_state_dict(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Compare names and shapes with those of `module`, which may be on the `meta` device.

    Raises:
        CheckpointError: a tensor is missing, unknown, or of another shape.
    """
    state_dict = module.state_dict()
    model = type(module).__name__
    missing = [name for name in state_dict if name not in tensors]
    unknown = [name for name in tensors if name not in state_dict]
    if missing or unknown:
        reasons = [f"{len(missing)} missing: {list_names(missing)}"] if missing else []
        reasons += [f"{len(unknown)} unknown: {list_names(unknown)}"] if unknown else []
        raise CheckpointError(
            f"tensors do not fit {model} ({'; '.join(reasons)}); use the config they were saved with."
        )
    for name, expected in state_dict.items():
        if tensors[name].shape != expected.shape:
            raise CheckpointError(
                f"{name}: {model} expects shape {tuple(expected.shape)}, got {tuple(tensors[name].shape)}."
            )


def to_storable(name: str, tensor: Tensor, *, fp16: bool) -> Tensor:
    """A contiguous CPU copy (safetensors refuses shared memory); floating point as float16 if `fp16`.

    Raises:
        CheckpointError: the tensor is not finite, or too large for float16.
    """
    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        raise CheckpointError(f"{name}: holds NaN or infinite values; such weights are not saved.")
    copy = tensor.detach().to("cpu", torch.float16 if fp16 and tensor.is_floating_point() else tensor.dtype)
    if copy.is_floating_point() and not torch.isfinite(copy).all():
        raise CheckpointError(f"{name}: is too large for float16; save it with fp16=False.")
    return copy.clone(memory_format=torch.contiguous_format)
