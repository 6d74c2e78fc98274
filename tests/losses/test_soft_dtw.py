"""Soft-DTW (lip2speech/losses/soft_dtw.py) against loops, plain DTW and finite differences."""

import math

import pytest
import torch
from torch import Tensor

from lip2speech.losses.soft_dtw import alignment, near_diagonal, soft_dtw


def twin(cost: Tensor, gamma: float) -> float:
    """One clip (N, M), cell by cell; gamma 0 is plain DTW."""
    n, m = cost.shape
    table = [[math.inf] * (m + 1) for _ in range(n + 1)]
    table[0][0] = 0.0
    for i in range(n):
        for j in range(m):
            ways = [table[i][j + 1], table[i + 1][j], table[i][j]]
            least = min(ways)
            soft = gamma * math.log(sum(math.exp((least - w) / gamma) for w in ways)) if gamma else 0.0
            table[i + 1][j + 1] = float(cost[i, j]) + least - soft
    return table[n][m]


def costs(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def sizes(*values: int) -> Tensor:
    return torch.tensor(values)


@pytest.mark.parametrize("gamma", [0.05, 1.0])
def test_a_batch_of_any_lengths_equals_the_loop(gamma: float) -> None:
    cost, rows, columns = costs(4, 6, 5), sizes(6, 1, 4, 6), sizes(5, 1, 5, 1)
    found = soft_dtw(cost, rows, columns, gamma=gamma)
    for b in range(4):
        expected = twin(cost[b, : rows[b], : columns[b]], gamma)
        assert float(found[b]) == pytest.approx(expected, abs=1e-9)


def test_a_hard_minimum_is_plain_dtw() -> None:
    cost = costs(1, 7, 9)
    assert float(soft_dtw(cost, sizes(7), sizes(9), gamma=1e-4)) == pytest.approx(
        twin(cost[0], 0.0), abs=1e-2
    )


def test_a_slower_copy_costs_nothing_and_every_step_finds_its_own() -> None:
    short = torch.tensor([0.0, 5.0, 2.0, 7.0])
    slow = short.repeat_interleave(3)
    cost = (slow[:, None] - short[None]).abs()[None]
    assert float(soft_dtw(cost, sizes(12), sizes(4), gamma=1e-3)) == pytest.approx(0.0, abs=0.05)
    path = alignment(cost, sizes(12), sizes(4), gamma=1e-3)[0].argmax(1)
    assert path.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_the_gradient_is_that_of_finite_differences() -> None:
    cost = costs(2, 4, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda c: soft_dtw(c, sizes(4, 3), sizes(3, 2), gamma=0.3), cost)


def test_the_gradient_is_an_alignment_within_the_clip() -> None:
    through = alignment(costs(1, 6, 5), sizes(5), sizes(4), gamma=0.2)[0]
    assert float(through[0, 0]) == pytest.approx(1.0) and float(through[4, 3]) == pytest.approx(1.0)
    assert not through[5:].any() and not through[:, 4:].any()
    assert (through >= 0).all() and (through <= 1 + 1e-9).all()


@pytest.mark.parametrize(("n", "m"), [(5, 5), (12, 5), (5, 12), (7, 1), (1, 7)])
def test_the_narrowest_band_still_has_a_path(n: int, m: int) -> None:
    cost = costs(1, n, m)
    near = near_diagonal(cost, sizes(n), sizes(m), 1.0)
    assert float(soft_dtw(cost, sizes(n), sizes(m), gamma=0.1, band=1.0)) < n + m
    assert not alignment(cost, sizes(n), sizes(m), gamma=0.1, band=1.0)[~near].any()


def test_a_wide_band_changes_nothing_and_a_narrow_one_forbids() -> None:
    cost = torch.ones(1, 9, 9)
    cost[0, 0, :], cost[0, :, 8] = 0.0, 0.0  # a free way round the corner
    wide, narrow = (float(soft_dtw(cost, sizes(9), sizes(9), gamma=1e-3, band=b)) for b in (9.0, 2.0))
    assert wide == pytest.approx(0.0, abs=0.1) and narrow > 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": sizes(3)}, r"rows must be 1 to 2, got \[3\]"),
        ({"columns": sizes(0)}, r"columns must be 1 to 2, got \[0\]"),
        ({"gamma": 0.0}, "gamma must be above 0"),
        ({"band": 0.5}, "band 1 or more"),
        ({"rows": sizes(1, 1)}, r"cost must be \(B, N, M\)"),
    ],
)
def test_what_cannot_be_aligned_is_refused(changes: dict, message: str) -> None:
    arguments = {"rows": sizes(2), "columns": sizes(2), "gamma": 0.1} | changes
    with pytest.raises(ValueError, match=message):
        soft_dtw(torch.ones(1, 2, 2), **arguments)
