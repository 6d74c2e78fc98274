"""The loss balancer of EnCodec (Defossez et al. 2022, section 3.4).

Weights say what share of the gradient each loss gets, whatever its scale. Knows no model and no loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from lip2speech import distributed

EPSILON = 1e-12


class Balancer:
    """Rescales the gradients of several losses with respect to one output.

    With g_i the gradient of loss i at the output and <|g_i|> the moving average of its norm (mean over the
    batch of each item's norm, in all processes), the balanced gradient is
    sum_i total_norm * w_i / sum(w) * g_i / <|g_i|>.

    Args:
        weights: share of each loss, by name; only their ratios matter.
        total_norm: norm that the balanced gradient would have if all gradients pointed the same way.
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
        """A stand-in for the weighted sum: add it to losses that are not balanced, then call backward."""
        if unknown := set(losses) - set(self.weights):
            raise ValueError(f"no weight for {', '.join(sorted(unknown))}; known: {', '.join(self.weights)}.")
        grads = {
            name: torch.autograd.grad(loss, output, retain_graph=True)[0] for name, loss in losses.items()
        }
        norms = {
            name: distributed.all_reduce_mean(float(g.flatten(1).norm(dim=1).mean()))
            for name, g in grads.items()
        }
        self.follow(norms)
        share = self.total_norm / sum(self.weights[name] for name in losses)
        balanced = torch.zeros_like(output)
        for name, grad in grads.items():
            balanced += grad * (share * self.weights[name] / (EPSILON + self.average(name)))
        return (output * balanced).sum()

    def follow(self, norms: Mapping[str, float]) -> None:
        """Take one step's norms into the averages; one that is not finite would spoil them for ever."""
        for name, norm in norms.items():
            if math.isfinite(norm):
                self.sums[name] = self.sums[name] * self.decay + norm
                self.counts[name] = self.counts[name] * self.decay + 1.0

    def average(self, name: str) -> float:
        """The moving average of a loss' gradient norm, 0 before the first."""
        return self.sums[name] / self.counts[name] if self.counts[name] else 0.0

    def state_dict(self) -> dict[str, dict[str, float]]:
        """What a resumed run needs."""
        return {"sums": dict(self.sums), "counts": dict(self.counts)}

    def load_state_dict(self, state: Mapping[str, Mapping[str, float]]) -> None:
        self.sums, self.counts = dict(state["sums"]), dict(state["counts"])
