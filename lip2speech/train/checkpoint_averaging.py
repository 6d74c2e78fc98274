"""The mean of the weights of several trainings of one model: one folder, as fast as each of them.

Wortsman et al. 2022, "Model soups": trainings that began at one start, with other seeds or weights of the
losses, lie in one valley, and their mean is often better than the best of them. Trainings that began at
different random starts have no such mean; what can be seen here is only that they fit each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from lip2speech import checkpoint

COUNTED = "num_batches_tracked"
"""A batch norm's count of what it has seen: a whole number, but any serves."""


def average(folders: Sequence[Path], out: Path, *, overwrite: bool = False) -> int:
    """Write the mean of checkpoint folders to `out`; how many tensors it is of.

    Raises:
        ValueError: fewer than two folders, or two whose configs, names, shapes or whole numbers differ.
    """
    if len(folders) < 2:
        raise ValueError(f"a mean is of two folders or more, got {len(folders)}.")
    first, *others = (checkpoint.load(folder) for folder in folders)
    total = {name: tensor.double() for name, tensor in first.tensors.items()}
    for other in others:
        check_alike(first, other)
        for name, tensor in other.tensors.items():
            total[name] += tensor
    tensors = {name: (total[name] / len(folders)).to(tensor.dtype) for name, tensor in first.tensors.items()}
    card = f"# The mean of {len(folders)} trainings\nMade by `lip2speech train average`.\n\n{first.card}"
    checkpoint.save(out, first.config, tensors, card, overwrite=overwrite)
    return len(tensors)


def check_alike(first: checkpoint.Checkpoint, other: checkpoint.Checkpoint) -> None:
    """ValueError: not two trainings of one model."""
    if first.config != other.config:
        both = first.config | other.config
        names = ", ".join(k for k in both if first.config.get(k) != other.config.get(k))
        raise ValueError(
            f"{first.folder} and {other.folder} differ in {names} of their config.yaml; "
            "average trainings of one model."
        )
    for name in first.tensors.keys() | other.tensors.keys():
        a, b = first.tensors.get(name), other.tensors.get(name)
        if a is None or b is None or a.shape != b.shape:
            raise ValueError(f"{first.folder} and {other.folder} do not both have {name} in one shape.")
        if (
            not a.dtype.is_floating_point
            and not torch.equal(a, b)
            and not name.endswith("num_batches_tracked")
        ):
            raise ValueError(f"{name} holds whole numbers that differ, and those have no mean.")
