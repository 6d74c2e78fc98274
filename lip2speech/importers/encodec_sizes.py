"""An EnCodec's sizes, read from the shapes of its weights (under our names). Knows no files and no config."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lip2speech.importers.inert import ForeignFileError

Tensors = Mapping[str, Tensor]

PLAIN, NORMED = "conv.weight", "conv.parametrizations.weight.original1"
MAX_LAYERS = 100  # the largest published one has 16
MAX_BOOKS = 128  # published: 32


def seanet_sizes(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Fields of a `SEANetConfig` that shapes show."""
    kernels = _kernels(tensors, path)
    first, last = kernels[0], kernels[-1]
    blocks = [n for n in range(MAX_LAYERS) if f"decoder.layers.{n}.block.1.{_weight(tensors)}" in tensors]
    if len(kernels) < 3 or len(blocks) % (len(kernels) - 2) or not blocks:
        raise ForeignFileError(f"{path}: its decoder is not SEANet's; is it another model's file?")
    inner = tensors[f"decoder.layers.{blocks[0]}.block.1.{_weight(tensors)}"]
    if inner.dim() != 3 or 0 in inner.shape or inner.shape[0] > inner.shape[1]:
        raise ForeignFileError(f"{path}: a residual block has shape {tuple(inner.shape)}.")
    names = tensors.keys()
    normed = "weight_norm" if _weight(tensors) == NORMED else "none"
    return {
        "channels": last.shape[0],
        "dimension": first.shape[1],
        "n_filters": last.shape[1],
        "n_residual_layers": len(blocks) // (len(kernels) - 2),
        "ratios": [kernel.shape[2] // 2 for kernel in kernels[1:-1]],
        "kernel_size": first.shape[2],
        "last_kernel_size": last.shape[2],
        "residual_kernel_size": inner.shape[2],
        "compress": inner.shape[1] // inner.shape[0],
        "true_skip": not any(".shortcut." in name for name in names),
        "lstm": sum(f"decoder.layers.1.lstm.weight_ih_l{n}" in tensors for n in range(MAX_LAYERS)),
        "norm": "time_group_norm" if any(".norm." in name for name in names) else normed,
    }


def quantizer_sizes(tensors: Tensors, path: Path) -> dict[str, int]:
    """Fields of a `QuantizerConfig` that shapes show."""
    n_q = sum(f"quantizer.codebooks.{n}.entries" in tensors for n in range(MAX_BOOKS + 1))
    if not 1 <= n_q <= MAX_BOOKS:
        raise ForeignFileError(f"{path}: expected 1 to {MAX_BOOKS} codebooks from number 0, got {n_q}.")
    entries = tensors.get("quantizer.codebooks.0.entries")
    if entries is None or entries.dim() != 2 or 0 in entries.shape:
        raise ForeignFileError(f"{path}: its first codebook is missing or no table.")
    return {"n_q": n_q, "codebook_size": entries.shape[0], "codebook_dim": entries.shape[1]}


def _kernels(tensors: Tensors, path: Path) -> list[Tensor]:
    """The decoder's own convolutions in order: first, one for each ratio, last; without its blocks'."""
    leaf = _weight(tensors)
    names = (f"decoder.layers.{n}.{leaf}" for n in range(MAX_LAYERS))
    kernels = [tensors[name] for name in names if name in tensors]
    if any(kernel.dim() != 3 or 0 in kernel.shape for kernel in kernels):
        raise ForeignFileError(f"{path}: a convolution's weight has not three dimensions.")
    if any(kernel.shape[2] % 2 for kernel in kernels[1:-1]):  # of an upsampling: twice its ratio
        raise ForeignFileError(f"{path}: an upsampling's kernel is not twice its ratio.")
    return kernels


def _weight(tensors: Tensors) -> str:
    """How its convolutions' weights end: plain, or the direction under weight norm."""
    return NORMED if any(name.endswith(NORMED) for name in tensors) else PLAIN
