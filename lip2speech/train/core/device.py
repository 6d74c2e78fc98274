"""Device and precision of a training run.

Datasets and the random numbers that batches are drawn with stay on the CPU, so that batches are identical on
CPU and GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from lip2speech.utils.device import choose_device

Device = Literal["auto", "cpu", "cuda"]
"""auto: a GPU if torch sees one, else the CPU."""


def training_device(name: Device) -> torch.device:
    """The device of this process, under torchrun the GPU of its local rank.

    Raises:
        ValueError: the device is not available.
    """
    return choose_device(name, mps=False)


def move_to(value: Any, device: torch.device) -> Any:
    """A tensor, or all tensors in nested tuples, lists, mappings and dataclasses, on `device`."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {name: move_to(inner, device) for name, inner in value.items()}
    if isinstance(value, list):
        return [move_to(inner, device) for inner in value]
    if isinstance(value, tuple):
        inner = [move_to(one, device) for one in value]
        return type(value)(*inner) if hasattr(value, "_fields") else tuple(inner)
    if is_dataclass(value) and not isinstance(value, type):
        return type(value)(**{f.name: move_to(getattr(value, f.name), device) for f in fields(value)})
    return value


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The autocast context of a `precision` ("fp32" or "bf16")."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
