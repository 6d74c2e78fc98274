"""Weight averaging of several trainings of one model ("model soup", Wortsman et al. 2022).

Trainings that start from the same checkpoint, with other seeds or loss weights, tend to end in one basin of
the loss, and the mean of their weights is often better than the best of them. This does not hold for
trainings from different random initializations; here only configs, names and shapes can be checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from lip2speech import checkpoint


def average_checkpoints(folders: Sequence[Path], out: Path, *, overwrite: bool = False) -> int:
    """Write the mean of checkpoint folders to `out`; returns the number of tensors.

    Raises:
        ValueError: fewer than two folders, or two whose configs, names, shapes or integer tensors differ.
    """
    if len(folders) < 2:
        raise ValueError(f"averaging needs two folders or more, got {len(folders)}.")
    first, *others = (checkpoint.load(folder) for folder in folders)
    total = {name: tensor.double() for name, tensor in first.tensors.items()}
    for other in others:
        check_same_model(first, other)
        for name, tensor in other.tensors.items():
            total[name] += tensor
    tensors = {name: (total[name] / len(folders)).to(tensor.dtype) for name, tensor in first.tensors.items()}
    card = f"# Mean of {len(folders)} checkpoints\nWritten by `lip2speech model average`.\n\n{first.card}"
    checkpoint.save(out, first.config, tensors, card, overwrite=overwrite)
    return len(tensors)


def check_same_model(first: checkpoint.Checkpoint, other: checkpoint.Checkpoint) -> None:
    """Raise ValueError unless both are checkpoints of one model."""
    pair = f"{first.folder} and {other.folder}"
    if first.config != other.config:
        both = first.config | other.config
        names = ", ".join(k for k in both if first.config.get(k) != other.config.get(k))
        raise ValueError(f"{pair} differ in {names} of their config.yaml; average checkpoints of one model.")
    for name in first.tensors.keys() | other.tensors.keys():
        a, b = first.tensors.get(name), other.tensors.get(name)
        if a is None or b is None or a.shape != b.shape:
            raise ValueError(f"{pair} do not both have {name} in the same shape.")
        is_counter = name.endswith("num_batches_tracked")  # of a batch norm; any value will do
        if not a.dtype.is_floating_point and not is_counter and not torch.equal(a, b):
            raise ValueError(f"{pair} have different integers in {name}, which cannot be averaged.")
