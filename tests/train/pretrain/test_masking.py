"""Span masks and frame substitution (lip2speech/train/pretrain/masking.py)."""

import math

import numpy as np
import pytest

from lip2speech.train.pretrain.masking import SpanMask, masked_spans, sample_mask, substitute_frames


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(("prob", "length"), [(0.3, 5), (0.8, 10)])
def test_overlapping_spans_mask_the_expected_fraction_of_frames(prob: float, length: int) -> None:
    masked = np.mean([sample_mask(2000, SpanMask(prob, length), rng(seed)).mean() for seed in range(20)])
    assert masked == pytest.approx(1 - math.exp(-prob), abs=0.02)


def test_spans_have_the_configured_length_and_may_overlap() -> None:
    lengths = [
        b - a for seed in range(50) for a, b in masked_spans(sample_mask(60, SpanMask(0.5, 6), rng(seed)))
    ]
    assert min(lengths) == 6
    assert max(lengths) > 6
    assert lengths.count(6) > len(lengths) / 3


def test_a_short_clip_has_two_spans_and_is_never_masked_completely() -> None:
    masks = [sample_mask(13, SpanMask(0.8, 10), rng(seed)) for seed in range(200)]
    assert {int(mask.sum()) for mask in masks} == {11, 12}  # two spans of 10 that begin at 0, 1 or 2
    assert not any(mask[-1] for mask in masks)
    assert not sample_mask(1, SpanMask(0.8, 10), rng()).any()
    assert sample_mask(4, SpanMask(0.8, 10), rng()).tolist() == [True] * 3 + [False]


def test_a_mask_prob_of_zero_masks_nothing() -> None:
    assert not sample_mask(100, SpanMask(0.0, 5), rng()).any()


@pytest.mark.parametrize(("prob", "length"), [(-0.1, 5), (1.1, 5), (0.5, 0)])
def test_an_invalid_mask_is_refused(prob: float, length: int) -> None:
    with pytest.raises(ValueError, match=r"mask_prob must be 0 \.\. 1 and mask_length 1 or more, got"):
        SpanMask(prob, length)


def test_a_masked_span_shows_another_span_of_the_same_length() -> None:
    places = set()
    for seed in range(300):
        mask = np.zeros(40, dtype=bool)
        mask[10:16] = True
        indices = substitute_frames(mask, rng(seed))
        assert (indices[~mask] == np.flatnonzero(~mask)).all()
        first = int(indices[10])
        assert indices[10:16].tolist() == list(range(first, first + 6))
        places.add(first)
    assert places == {*range(0, 5), *range(16, 35)}  # wherever six frames fit beside the span


def test_a_masked_frame_never_shows_itself() -> None:
    for seed in range(100):
        mask = sample_mask(30, SpanMask(0.8, 10), rng(seed))
        indices = substitute_frames(mask, rng(seed))
        assert (indices[mask] != np.flatnonzero(mask)).all()
        assert indices.min() >= 0
        assert indices.max() < 30


def test_without_a_long_enough_span_the_longer_side_is_repeated() -> None:
    mask = np.ones(10, dtype=bool)
    mask[[0, 8, 9]] = False
    assert substitute_frames(mask, rng()).tolist() == [0, 8, 9, 8, 9, 8, 9, 8, 8, 9]
