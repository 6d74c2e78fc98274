"""Soft-DTW (lip2speech/losses/soft_dtw.py) against loops, plain DTW and finite differences."""

import math

import pytest
import torch
from torch import Tensor

from lip2speech.losses.soft_dtw import sakoe_chiba_band, soft_dtw, soft_dtw_alignment


def dtw_loop(cost: Tensor, gamma: float) -> float:
    """One clip (N, M), cell by cell; gamma 0 is plain DTW."""
    n, m = cost.shape
    table = [[math.inf] * (m + 1) for _ in range(n + 1)]
    table[0][0] = 0.0
    for i in range(n):
        for j in range(m):
            neighbors = [table[i][j + 1], table[i + 1][j], table[i][j]]
            minimum = min(neighbors)
            soft = gamma * math.log(sum(math.exp((minimum - w) / gamma) for w in neighbors)) if gamma else 0.0
            table[i + 1][j + 1] = float(cost[i, j]) + minimum - soft
    return table[n][m]


def random_costs(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def sizes(*values: int) -> Tensor:
    return torch.tensor(values)


@pytest.mark.parametrize("gamma", [0.05, 1.0])
def test_a_batch_of_any_lengths_equals_the_loop(gamma: float) -> None:
    cost, rows, columns = random_costs(4, 6, 5), sizes(6, 1, 4, 6), sizes(5, 1, 5, 1)
    found = soft_dtw(cost, rows, columns, gamma=gamma)
    for b in range(4):
        expected = dtw_loop(cost[b, : rows[b], : columns[b]], gamma)
        assert float(found[b]) == pytest.approx(expected, abs=1e-9)


def test_a_small_gamma_is_plain_dtw() -> None:
    cost = random_costs(1, 7, 9)
    assert float(soft_dtw(cost, sizes(7), sizes(9), gamma=1e-4)) == pytest.approx(
        dtw_loop(cost[0], 0.0), abs=1e-2
    )


def test_a_slowed_copy_costs_nothing_and_every_step_is_aligned() -> None:
    short = torch.tensor([0.0, 5.0, 2.0, 7.0])
    slow = short.repeat_interleave(3)
    cost = (slow[:, None] - short[None]).abs()[None]
    assert float(soft_dtw(cost, sizes(12), sizes(4), gamma=1e-3)) == pytest.approx(0.0, abs=0.05)
    path = soft_dtw_alignment(cost, sizes(12), sizes(4), gamma=1e-3)[0].argmax(1)
    assert path.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_the_gradient_matches_finite_differences() -> None:
    cost = random_costs(2, 4, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda c: soft_dtw(c, sizes(4, 3), sizes(3, 2), gamma=0.3), cost)


def test_the_alignment_stays_within_the_clip() -> None:
    alignment = soft_dtw_alignment(random_costs(1, 6, 5), sizes(5), sizes(4), gamma=0.2)[0]
    assert float(alignment[0, 0]) == pytest.approx(1.0)
    assert float(alignment[4, 3]) == pytest.approx(1.0)
    assert not alignment[5:].any()
    assert not alignment[:, 4:].any()
    assert (alignment >= 0).all()
    assert (alignment <= 1 + 1e-9).all()


@pytest.mark.parametrize(("n", "m"), [(5, 5), (12, 5), (5, 12), (7, 1), (1, 7)])
def test_the_narrowest_band_still_has_a_path(n: int, m: int) -> None:
    cost = random_costs(1, n, m)
    inside = sakoe_chiba_band(cost, sizes(n), sizes(m), 1.0)
    assert float(soft_dtw(cost, sizes(n), sizes(m), gamma=0.1, band=1.0)) < n + m
    assert not soft_dtw_alignment(cost, sizes(n), sizes(m), gamma=0.1, band=1.0)[~inside].any()


def test_a_narrow_band_forbids_a_far_path_and_a_wide_one_does_not() -> None:
    cost = torch.ones(1, 9, 9)
    cost[0, 0, :], cost[0, :, 8] = 0.0, 0.0  # a free path around the corner
    wide, narrow = (float(soft_dtw(cost, sizes(9), sizes(9), gamma=1e-3, band=b)) for b in (9.0, 2.0))
    assert wide == pytest.approx(0.0, abs=0.1)
    assert narrow > 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": sizes(3)}, r"rows must be in 1..2, got \[3\]"),
        ({"columns": sizes(0)}, r"columns must be in 1..2, got \[0\]"),
        ({"gamma": 0.0}, "gamma must be above 0"),
        ({"band": 0.5}, "band 1 or more"),
        ({"rows": sizes(1, 1)}, r"cost must be \(B, N, M\)"),
    ],
)
def test_invalid_arguments_are_refused(changes: dict, message: str) -> None:
    arguments = {"rows": sizes(2), "columns": sizes(2), "gamma": 0.1} | changes
    with pytest.raises(ValueError, match=message):
        soft_dtw(torch.ones(1, 2, 2), **arguments)
