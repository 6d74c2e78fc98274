"""Crops as a worse picture would have given them (lip2speech/evaluation/degradation.py)."""

import numpy as np
import pytest
import torch

from lip2speech.evaluation.degradation import KINDS, Kind, enlarged, worsen, worsen_clip
from lip2speech.video.sharpness import crop_sharpness


@pytest.fixture(scope="module")
def roi() -> np.ndarray:
    """(6, 96, 96) uint8: blobs of all sizes, as a face has them."""
    rng, x = np.random.default_rng(0), np.zeros((6, 96, 96))
    for size in (3, 6, 12, 24, 48, 96):
        x += np.kron(rng.normal(0, 12, (6, size, size)), np.ones((1, 96 // size, 96 // size)))
    return (120 + x).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 6])
def test_crops_stay_crops_and_the_given_ones_as_they_are(roi: np.ndarray, kind: Kind, count: int) -> None:
    before = roi[:count].copy()
    made = worsen(roi[:count], kind, 3.0)
    assert (made.shape, made.dtype) == (before.shape, np.uint8)
    assert np.array_equal(roi[:count], before) and not np.array_equal(made, before)


@pytest.mark.parametrize("kind", ["far", "blurred", "dark", "pale"])
def test_less_can_be_seen_the_worse_it_is(roi: np.ndarray, kind: Kind) -> None:
    seen = [
        crop_sharpness(roi).mean(),
        *(crop_sharpness(worsen(roi, kind, factor)).mean() for factor in (1.5, 3.0, 6.0, 12.0)),
    ]
    assert seen == sorted(seen, reverse=True) and seen[-1] < seen[0] / 2


def test_noise_is_as_strong_as_it_is_said(roi: np.ndarray) -> None:
    gray = np.full_like(roi, 128)
    assert worsen(gray, "noisy", 5.0).std() == pytest.approx(20, rel=0.05)
    dark = worsen(gray, "dark", 4.0)
    assert dark.mean() == pytest.approx(32, abs=0.2) and dark.std() == pytest.approx(4, rel=0.05)


def test_light_stays_where_only_sharpness_or_contrast_is_lost(roi: np.ndarray) -> None:
    for kind in ("far", "blurred", "pale"):
        assert worsen(roi, kind, 4.0).mean() == pytest.approx(roi.mean(), abs=1.0)
    assert worsen(roi, "pale", 4.0).std((1, 2)).mean() == pytest.approx(roi.std((1, 2)).mean() / 4, rel=0.05)


def test_what_is_far_away_fills_few_pixels() -> None:
    checks = torch.tensor([[0.0, 100.0] * 48] * 96)[None]
    assert enlarged(checks, 2.0).eq(50).all()


def test_an_id_decides_what_becomes_of_a_clip(roi: np.ndarray) -> None:
    assert np.array_equal(worsen_clip(roi, "a"), worsen_clip(roi, "a"))
    made = {worsen_clip(roi, str(i)).tobytes() for i in range(20)}
    assert len(made) == 20


@pytest.mark.parametrize(("kind", "factor"), [("near", 2.0), ("far", 0.5)])
def test_what_makes_nothing_worse_is_refused(roi: np.ndarray, kind: Kind, factor: float) -> None:
    with pytest.raises(ValueError, match=r"kind must be one of far, .*, factor 1 or more, got '\w+' and"):
        worsen(roi, kind, factor)
