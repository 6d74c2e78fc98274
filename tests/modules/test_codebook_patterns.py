"""The delay pattern of codebooks (lip2speech/modules/codebook_patterns.py)."""

import pytest
import torch

from lip2speech.modules.codebook_patterns import apply_delay, revert_delay


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("n_q", [1, 2, 4])
@pytest.mark.parametrize("steps", [0, 1, 2, 7])
def test_reverting_the_delay_returns_the_codes(batch: int, n_q: int, steps: int) -> None:
    codes = torch.randint(9, (batch, n_q, steps), generator=torch.Generator().manual_seed(0))
    delayed = apply_delay(codes, -1)
    assert delayed.shape == (batch, n_q, steps + n_q - 1)
    assert int((delayed == -1).sum()) == batch * n_q * (n_q - 1)
    assert torch.equal(revert_delay(delayed), codes)


def test_codebook_k_is_shifted_by_k_steps() -> None:
    codes = torch.tensor([[[1, 2], [3, 4], [5, 6]]])
    assert apply_delay(codes, 0).tolist() == [[[1, 2, 0, 0], [0, 3, 4, 0], [0, 0, 5, 6]]]


def test_vectors_are_delayed_like_codes() -> None:
    vectors = torch.randn(2, 3, 5, 4)
    delayed = apply_delay(vectors, 0.0)
    assert delayed.shape == (2, 3, 7, 4)
    assert torch.equal(delayed[..., 1], apply_delay(vectors[..., 1], 0.0))
    assert torch.equal(revert_delay(delayed), vectors)


def test_fewer_steps_than_the_delay_are_refused() -> None:
    with pytest.raises(ValueError, match="4 delayed codebooks have 3 steps or more, got 2"):
        revert_delay(torch.zeros(1, 4, 2))
