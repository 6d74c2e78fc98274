"""Where a training computes: on the CPU, or each process on a GPU of its own. Data stay on the CPU, as do the
random numbers that batches are drawn with, so that batches are the same on either.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Device = Literal["auto", "cpu", "cuda"]
"""auto: a GPU where torch sees one, else the CPU."""

CPU = torch.device("cpu")


def choose_device(name: Device) -> torch.device:
    """The device of this process; under torchrun the GPU of its number on this machine.

    Raises:
        ValueError: cuda is asked for and torch sees no GPU, or fewer than there are processes here.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return CPU
    index, seen = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if not seen:
        raise ValueError(
            "device is cuda, but torch sees no GPU here; set it to cpu, or install the driver and a build of "
            "PyTorch for CUDA."
        )
    if index >= seen:
        raise ValueError(
            f"process {index} of this machine has no GPU of its own, torch sees {seen}; start as many "
            "processes as there are GPUs, or set device to cpu."
        )
    return torch.device("cuda", index)


def moved(value: Any, device: torch.device) -> Any:
    """The same on `device`: a tensor, or those that tuples, lists, dicts and dataclasses hold."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {name: moved(inner, device) for name, inner in value.items()}
    if isinstance(value, list):
        return [moved(inner, device) for inner in value]
    if isinstance(value, tuple):
        inner = [moved(one, device) for one in value]
        return type(value)(*inner) if hasattr(value, "_fields") else tuple(inner)
    if is_dataclass(value) and not isinstance(value, type):
        return type(value)(**{f.name: moved(getattr(value, f.name), device) for f in fields(value)})
    return value
