"""Offset search and time shift of targets (lip2speech/losses/offset.py)."""

import pytest
import torch

from lip2speech.losses import best_offsets, time_shift
from tests.losses.helpers import noise, valid_mask


def test_time_shift_repeats_the_edges() -> None:
    target = torch.tensor([[0, 1, 2, 3], [0, 1, 2, 3]])
    assert time_shift(target, torch.tensor([1, -2])).tolist() == [[1, 2, 3, 3], [0, 0, 0, 1]]


def test_time_shift_never_reads_padding() -> None:
    target = torch.tensor([[[0, 1, 2, -100, -100]], [[0, 1, 2, 3, 4]]])
    shifted = time_shift(target, torch.tensor([2, 2]), torch.tensor([3, 5]))
    assert shifted.tolist() == [[[2, 2, 2, -100, -100]], [[2, 3, 4, 4, 4]]]


@pytest.mark.parametrize("shape", [(2, 9), (2, 3, 9), (2, 3, 4, 9)])
def test_a_zero_offset_leaves_the_target_unchanged(shape: tuple[int, ...]) -> None:
    target = noise(*shape)
    assert torch.equal(time_shift(target, torch.zeros(2, dtype=torch.long)), target)


def test_a_known_offset_is_found_for_each_clip() -> None:
    target = noise(4, 5, 40)
    offsets = torch.tensor([-3, 0, 2, 6])
    predicted = time_shift(target, offsets)
    found = best_offsets(predicted, target, valid_mask([40] * 4, 40), max_offset=6, penalty=0.002)
    assert torch.equal(found, offsets)


def test_padding_does_not_affect_the_best_offset() -> None:
    target = torch.cat([noise(2, 5, 20), torch.full((2, 5, 20), 50.0)], 2)
    lengths, offsets = torch.tensor([20, 20]), torch.tensor([4, -4])
    predicted = time_shift(target, offsets, lengths)
    assert torch.equal(
        best_offsets(predicted, target, valid_mask([20, 20], 40), max_offset=6, penalty=0.0), offsets
    )


def test_the_penalty_suppresses_small_gains() -> None:
    target = torch.ones(1, 3, 10) + 1e-3 * noise(1, 3, 10)
    predicted = time_shift(target, torch.tensor([2]))
    assert best_offsets(predicted, target, valid_mask([10], 10), max_offset=3, penalty=0.1).item() == 0


def test_the_best_offset_has_no_gradient() -> None:
    predicted = noise(1, 3, 10).requires_grad_()
    assert not best_offsets(
        predicted, noise(1, 3, 10, seed=1), valid_mask([10], 10), max_offset=2, penalty=0.0
    ).requires_grad
