"""Where a model runs."""

from __future__ import annotations

import os

import torch

CPU = torch.device("cpu")


def choose_device(name: str = "auto", *, mps: bool = True) -> torch.device:
    """The device called `name`, if it can be used here.

    Args:
        name: "auto" is CUDA where available, then MPS, then the CPU; else a PyTorch device such as "cpu",
            "cuda", "cuda:1" or "mps". "cuda" is the GPU of this process under torchrun (LOCAL_RANK).
        mps: whether "auto" may be MPS; training does not support it.

    Raises:
        ValueError: the device is unknown or not available, or there are more processes than GPUs.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if mps and mps_available() else "cpu"
    if name == "cuda" and torch.cuda.is_available():
        return _local_gpu()
    try:
        return torch.zeros(1, device=name).cpu().new_empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {name!r} cannot be used here ({reason}); try cpu.") from None


def mps_available() -> bool:
    """Whether PyTorch can use an Apple GPU."""
    return torch.backends.mps.is_available()


def _local_gpu() -> torch.device:
    """The GPU of this process."""
    index, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if index >= count:
        raise ValueError(
            f"process {index} of this machine has no GPU of its own, PyTorch sees {count}; start as many "
            "processes as there are GPUs, or set device to cpu."
        )
    return torch.device("cuda", index)
