"""Device and precision of a training run.

Datasets and the random numbers that batches are drawn with stay on the CPU, so that batches are identical on
CPU and GPU.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Device = Literal["auto", "cpu", "cuda"]
"""auto: a GPU if torch sees one, else the CPU."""

CPU = torch.device("cpu")


def choose_device(name: Device) -> torch.device:
    """The device of this process; under torchrun the GPU of its local rank.

    Raises:
        ValueError: cuda is requested and torch sees no GPU, or fewer GPUs than processes on this machine.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return CPU
    index, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if not count:
        raise ValueError(
            "device is cuda, but torch sees no GPU here; set it to cpu, or install the driver and a CUDA "
            "build of PyTorch."
        )
    if index >= count:
        raise ValueError(
            f"local rank {index} has no GPU, torch sees {count}; start as many processes as there are GPUs, "
            "or set device to cpu."
        )
    return torch.device("cuda", index)


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
