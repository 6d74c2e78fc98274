"""The loss balancer of EnCodec (Défossez et al. 2022, section 3.4).

A weight sets the share of the gradient that its loss gets, independent of the loss's scale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from lip2speech.utils import distributed

EPSILON = 1e-12


class Balancer:
    """Rescales the gradients of several losses with respect to one output.

    With g_i the gradient of loss i at the output and <|g_i|> the moving average of its norm (mean over the
    batch of each item's norm, over all processes), the balanced gradient is
    sum_i total_norm * w_i / sum(w) * g_i / <|g_i|>.

    Args:
        weights: share of each loss by name; only their ratios matter.
        total_norm: norm of the balanced gradient if all gradients point the same way.
        decay: of the moving averages.

    Shape:
        losses {name: ()}, output (B, ...) -> () whose gradient at the output is the balanced one
    """

    def __init__(self, weights: Mapping[str, float], *, total_norm: float = 1.0, decay: float = 0.999):
        if not weights or min(weights.values()) < 0 or not sum(weights.values()) > 0:
            raise ValueError(f"weights must be 0 or more, and not all 0, got {dict(weights)}.")
        self.weights, self.total_norm, self.decay = dict(weights), total_norm, decay
        self.sums = dict.fromkeys(weights, 0.0)
        self.counts = dict.fromkeys(weights, 0.0)

    def __call__(self, losses: Mapping[str, Tensor], output: Tensor) -> Tensor:
        """Surrogate loss (): add it to the losses that are not balanced, then call backward."""
        if unknown := set(losses) - set(self.weights):
            raise ValueError(f"no weight for {', '.join(sorted(unknown))}; known: {', '.join(self.weights)}.")
        grads = {
            name: torch.autograd.grad(loss, output, retain_graph=True)[0] for name, loss in losses.items()
        }
        norms = {name: float(grad.flatten(1).norm(dim=1).mean()) for name, grad in grads.items()}
        norms = {name: distributed.all_reduce_mean(norm) for name, norm in norms.items()}
        self.update(norms)
        share = self.total_norm / sum(self.weights[name] for name in losses)
        balanced = torch.zeros_like(output)
        for name, grad in grads.items():
            balanced += grad * (share * self.weights[name] / (EPSILON + self.average_norm(name)))
        return (output * balanced).sum()

    def update(self, norms: Mapping[str, float]) -> None:
        """Update the moving averages with the gradient norms of one step; non-finite ones are skipped."""
        for name, norm in norms.items():
            if math.isfinite(norm):
                self.sums[name] = self.sums[name] * self.decay + norm
                self.counts[name] = self.counts[name] * self.decay + 1.0

    def average_norm(self, name: str) -> float:
        """The moving average of a loss's gradient norm, 0 before the first."""
        return self.sums[name] / self.counts[name] if self.counts[name] else 0.0

    def state_dict(self) -> dict[str, dict[str, float]]:
        """The moving averages, to resume from."""
        return {"sums": dict(self.sums), "counts": dict(self.counts)}

    def load_state_dict(self, state: Mapping[str, Mapping[str, float]]) -> None:
        """Restore `state_dict`."""
        self.sums, self.counts = dict(state["sums"]), dict(state["counts"])
