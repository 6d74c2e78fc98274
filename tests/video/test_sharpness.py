"""Sharpness of mouth crops (lip2speech/video/sharpness.py)."""

import numpy as np
import pytest

from lip2speech.video.sharpness import HALF_SHARPNESS_STEP, crop_sharpness

RNG = np.random.default_rng(0)


def blobs(size: float, contrast: float = 50.0) -> np.ndarray:
    """(5, 96, 96) uint8: sinusoids with a period of `size` pixels in both directions."""
    wave = np.sin(np.arange(96) * 2 * np.pi / size)
    shifts = np.arange(5)[:, None, None]
    return (128 + contrast * np.roll(wave, 3)[None, :, None] * wave[None, None] + shifts).astype(np.uint8)


def noisy(roi: np.ndarray, level: float) -> np.ndarray:
    return (roi + RNG.normal(0, level, roi.shape)).round().clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", [(1, 96, 96), (2, 96, 96), (7, 97, 91), (0, 96, 96), (1, 88, 88)])
def test_every_crop_has_a_sharpness_below_1(shape: tuple[int, int, int]) -> None:
    sharpness = crop_sharpness(RNG.integers(0, 256, shape, dtype=np.uint8))
    assert (sharpness.shape, sharpness.dtype) == (shape[:1], np.float32)
    assert np.isfinite(sharpness).all()
    assert (sharpness >= 0).all()
    assert (sharpness < 1).all()


@pytest.mark.parametrize("gray", [0, 107, 255])
def test_a_uniform_crop_has_sharpness_0(gray: int) -> None:
    assert crop_sharpness(np.full((3, 96, 96), gray, np.uint8)).tolist() == [0.0] * 3


def test_sharpness_falls_with_blob_size_and_contrast() -> None:
    sizes = [crop_sharpness(blobs(size)).mean() for size in (8, 16, 32, 64)]
    contrasts = [crop_sharpness(blobs(16, contrast)).mean() for contrast in (100, 50, 20, 5)]
    assert sizes == sorted(sizes, reverse=True)
    assert contrasts == sorted(contrasts, reverse=True)
    assert sizes[0] > 0.8
    assert sizes[-1] < 0.5
    assert contrasts[-1] < 0.35


def test_the_sharpness_of_a_ramp_is_known() -> None:
    ramp = np.tile(np.arange(96, dtype=np.uint8) * 2, (1, 96, 1))
    step = np.sqrt(((4 / 255) ** 2 - (2 / 255) ** 2 / 4) / 2)
    assert crop_sharpness(ramp) == pytest.approx(step / (step + HALF_SHARPNESS_STEP), rel=1e-4)


def test_noise_hardly_counts() -> None:
    clean = blobs(16)
    assert crop_sharpness(noisy(clean, 20)).mean() == pytest.approx(crop_sharpness(clean).mean(), abs=0.05)
    assert crop_sharpness(noisy(np.full((5, 96, 96), 128, np.uint8), 10)).max() < 0.3


def test_crops_are_independent() -> None:
    roi = RNG.integers(0, 256, (6, 96, 96), dtype=np.uint8)
    assert crop_sharpness(roi).tolist() == [float(crop_sharpness(crop[None])[0]) for crop in roi]
