"""Usage of codebooks (lip2speech/train/codec/codebook_usage.py)."""

import pytest
import torch

from lip2speech.train.codec.codebook_usage import CodebookUsage, codebook_usage


def test_usage_accumulates_over_batches_and_resets_at_a_report() -> None:
    usage = CodebookUsage((4, 2))
    usage.add(torch.tensor([[[0, 1, 1], [0, 0, 0]]]))
    usage.add(torch.tensor([[[2, 2, 2], [0, 0, 0]]]))
    assert usage.report() == {"codebook_usage/0": 0.75, "codebook_usage/1": 0.5}
    assert usage.report() == {"codebook_usage/0": 0.0, "codebook_usage/1": 0.0}


def test_stages_that_an_item_did_not_use_do_not_count() -> None:
    usage = CodebookUsage((4, 4))
    usage.add(torch.tensor([[[0, 1], [-1, -1]]]))
    assert usage.report() == {"codebook_usage/0": 0.5, "codebook_usage/1": 0.0}


def test_usage_is_relative_to_the_size_of_each_codebook() -> None:
    assert codebook_usage(torch.tensor([[[0, 1], [0, 1]]]), (2, 8)) == pytest.approx((1 + 0.25) / 2)
