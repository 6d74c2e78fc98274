"""Weights and logs of the commitment losses of a codec."""

from __future__ import annotations

from torch import Tensor

from lip2speech.codecs import Codec


def check_commit_weight(weight: float | tuple[float, ...], codec: Codec) -> None:
    """ValueError unless there is one weight, or one for each commitment loss of the codec."""
    if isinstance(weight, tuple) and len(weight) != codec.n_commit_losses:
        raise ValueError(
            f"commit_weight has {len(weight)} values, {type(codec).__name__} has {codec.n_commit_losses} "
            "commitment losses; set one value, or one for each."
        )


def weighted_commitment(weight: float | tuple[float, ...], commit: Tensor) -> Tensor:
    """Commitment losses () or (n,) and one or n weights -> their weighted sum ()."""
    return (commit.new_tensor(weight) * commit).sum()


def commitment_metrics(commit: Tensor) -> dict[str, float]:
    """The sum of the commitment losses, and each of them if there are several."""
    metrics = {"loss/commit": commit.sum().item()}
    if commit.dim():
        metrics |= {f"loss/commit_{i}": value for i, value in enumerate(commit.tolist())}
    return metrics
