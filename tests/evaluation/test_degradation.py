"""Degradations of mouth crops (lip2speech/evaluation/degradation.py)."""

import numpy as np
import pytest
import torch

from lip2speech.evaluation.degradation import (
    DEGRADATIONS,
    Degradation,
    degrade,
    degrade_clip,
    reduce_resolution,
)
from lip2speech.video.sharpness import crop_sharpness


@pytest.fixture(scope="module")
def roi() -> np.ndarray:
    """(6, 96, 96) uint8: structure of all sizes, like a face."""
    rng, x = np.random.default_rng(0), np.zeros((6, 96, 96))
    for size in (3, 6, 12, 24, 48, 96):
        x += np.kron(rng.normal(0, 12, (6, size, size)), np.ones((1, 96 // size, 96 // size)))
    return (120 + x).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("kind", DEGRADATIONS)
@pytest.mark.parametrize("count", [1, 6])
def test_shape_and_dtype_are_kept_and_the_input_is_not_modified(
    roi: np.ndarray, kind: Degradation, count: int
) -> None:
    before = roi[:count].copy()
    degraded = degrade(roi[:count], kind, 3.0)
    assert (degraded.shape, degraded.dtype) == (before.shape, np.uint8)
    assert np.array_equal(roi[:count], before)
    assert not np.array_equal(degraded, before)


@pytest.mark.parametrize("kind", ["low_resolution", "blur", "low_light", "low_contrast"])
def test_sharpness_falls_with_the_factor(roi: np.ndarray, kind: Degradation) -> None:
    factors = (1.5, 3.0, 6.0, 12.0)
    sharpness = [
        crop_sharpness(roi).mean(),
        *(crop_sharpness(degrade(roi, kind, factor)).mean() for factor in factors),
    ]
    assert sharpness == sorted(sharpness, reverse=True)
    assert sharpness[-1] < sharpness[0] / 2


def test_noise_has_the_documented_standard_deviation(roi: np.ndarray) -> None:
    gray = np.full_like(roi, 128)
    assert degrade(gray, "noise", 5.0).std() == pytest.approx(20, rel=0.05)


def test_low_light_divides_the_level_and_keeps_the_noise(roi: np.ndarray) -> None:
    dark = degrade(np.full_like(roi, 128), "low_light", 4.0)
    assert dark.mean() == pytest.approx(32, abs=0.2)
    assert dark.std() == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize("kind", ["low_resolution", "blur", "low_contrast"])
def test_brightness_is_kept_unless_light_is_reduced(roi: np.ndarray, kind: Degradation) -> None:
    assert degrade(roi, kind, 4.0).mean() == pytest.approx(roi.mean(), abs=1.0)


def test_low_contrast_divides_the_standard_deviation(roi: np.ndarray) -> None:
    contrast = degrade(roi, "low_contrast", 4.0).std((1, 2)).mean()
    assert contrast == pytest.approx(roi.std((1, 2)).mean() / 4, rel=0.05)


def test_structure_below_the_reduced_resolution_disappears() -> None:
    stripes = torch.tensor([[0.0, 100.0] * 48] * 96)[None]
    assert reduce_resolution(stripes, 2.0).eq(50).all()


def test_the_id_alone_determines_the_degradation_of_a_clip(roi: np.ndarray) -> None:
    assert np.array_equal(degrade_clip(roi, "a"), degrade_clip(roi, "a"))
    assert len({degrade_clip(roi, str(i)).tobytes() for i in range(20)}) == 20


@pytest.mark.parametrize(("kind", "factor"), [("closer", 2.0), ("blur", 0.5)])
def test_an_unknown_kind_or_a_factor_below_one_is_refused(
    roi: np.ndarray, kind: Degradation, factor: float
) -> None:
    with pytest.raises(ValueError, match=r"kind must be one of low_resolution, .*, got '\w+' and"):
        degrade(roi, kind, factor)
