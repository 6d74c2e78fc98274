"""What pretraining hides, and what stands there instead (lip2speech/train/pretrain/masking.py)."""

import math

import numpy as np
import pytest

from lip2speech.train.pretrain.masking import SpanMask, draw_mask, stretches, substitutes


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(("share", "length"), [(0.3, 5), (0.8, 10)])
def test_as_many_frames_are_hidden_as_overlapping_spans_leave(share: float, length: int) -> None:
    hidden = np.mean([draw_mask(2000, SpanMask(share, length), rng(seed)).mean() for seed in range(20)])
    assert hidden == pytest.approx(1 - math.exp(-share), abs=0.02)


def test_spans_have_their_length_and_may_overlap() -> None:
    lengths = [b - a for seed in range(50) for a, b in stretches(draw_mask(60, SpanMask(0.5, 6), rng(seed)))]
    assert min(lengths) == 6 and max(lengths) > 6
    assert lengths.count(6) > len(lengths) / 3


def test_a_short_clip_has_two_spans_and_is_never_hidden_whole() -> None:
    masks = [draw_mask(13, SpanMask(0.8, 10), rng(seed)) for seed in range(200)]
    assert {int(mask.sum()) for mask in masks} == {11, 12}  # two spans of 10 that begin at 0, 1 or 2
    assert not any(mask[-1] for mask in masks)
    assert not draw_mask(1, SpanMask(0.8, 10), rng()).any()
    assert draw_mask(4, SpanMask(0.8, 10), rng()).tolist() == [True] * 3 + [False]


def test_share_0_hides_nothing() -> None:
    assert not draw_mask(100, SpanMask(0.0, 5), rng()).any()


@pytest.mark.parametrize(("share", "length"), [(-0.1, 5), (1.1, 5), (0.5, 0)])
def test_impossible_masks_are_refused(share: float, length: int) -> None:
    with pytest.raises(ValueError, match=r"share must be 0 \.\. 1 and its length 1 or more, got"):
        SpanMask(share, length)


def test_a_hidden_stretch_shows_another_one_that_is_as_long() -> None:
    places = set()
    for seed in range(300):
        mask = np.zeros(40, dtype=bool)
        mask[10:16] = True
        shown = substitutes(mask, rng(seed))
        assert (shown[~mask] == np.flatnonzero(~mask)).all()
        first = int(shown[10])
        assert shown[10:16].tolist() == list(range(first, first + 6))
        places.add(first)
    assert places == {*range(0, 5), *range(16, 35)}  # wherever six frames lie beside the stretch


def test_what_stands_there_is_never_the_frame_itself() -> None:
    for seed in range(100):
        mask = draw_mask(30, SpanMask(0.8, 10), rng(seed))
        shown = substitutes(mask, rng(seed))
        assert (shown[mask] != np.flatnonzero(mask)).all()
        assert shown.min() >= 0 and shown.max() < 30


def test_where_no_stretch_is_long_enough_the_longer_side_is_repeated() -> None:
    mask = np.ones(10, dtype=bool)
    mask[[0, 8, 9]] = False
    assert substitutes(mask, rng()).tolist() == [0, 8, 9, 8, 9, 8, 9, 8, 8, 9]
