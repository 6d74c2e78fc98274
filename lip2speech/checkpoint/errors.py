"""The one error of checkpoints."""

from __future__ import annotations

from collections.abc import Sequence

MAX_LISTED_NAMES = 5


class CheckpointError(ValueError):
    """A checkpoint folder or its tensors are missing, damaged, or made for another model."""


def list_names(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - MAX_LISTED_NAMES} more" if len(names) > MAX_LISTED_NAMES else ""
    return ", ".join(names[:MAX_LISTED_NAMES]) + more
