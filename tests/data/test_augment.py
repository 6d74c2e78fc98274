"""Augmentation of mouth crops, and resampling in time (lip2speech/data/augment.py)."""

from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from lip2speech.data.augment import (
    AugmentConfig,
    augment,
    corrupt,
    jitter_brightness,
    mask_time,
    resample_linear,
    resample_nearest,
    warp,
)
from lip2speech.models.frontends.transforms import Transform

OFF = AugmentConfig(**{f.name: type(f.default)(0) for f in fields(AugmentConfig)})
T = Transform()


def crops(batch: int, frames: int) -> Tensor:
    return torch.randint(
        256, (batch, frames, 96, 96), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )


def spot(row: int, column: int) -> Tensor:
    """One frame with a bright spot: (1, 1, 96, 96) in [0, 1]."""
    y, x = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
    return torch.exp(-((y - row) ** 2 + (x - column) ** 2) / 8.0)[None, None]


def center(image: Tensor) -> tuple[float, float]:
    """Row and column of the center of brightness of (H, W)."""
    places = torch.arange(len(image)).float()
    return tuple(float((image.sum(1 - d) * places).sum() / image.sum()) for d in (0, 1))  # type: ignore[return-value]


def test_without_augmentation_it_is_the_transform() -> None:
    roi = crops(2, 3)
    found = augment(roi, torch.tensor([3, 3]), OFF, mean=T.mean, std=T.std)
    torch.testing.assert_close(found, T(roi), rtol=0, atol=2e-3)  # 1e-4 is added to black before the gamma


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_the_shape_is_that_of_the_front_end(batch: int, frames: int) -> None:
    torch.manual_seed(0)
    found = augment(
        crops(batch, frames), torch.full((batch,), frames), AugmentConfig(), mean=T.mean, std=T.std
    )
    assert found.shape == (batch, 1, frames, 88, 88)
    assert torch.isfinite(found).all()


def test_a_seed_determines_the_augmentation() -> None:
    found = []
    for _ in range(2):
        torch.manual_seed(5)
        found.append(augment(crops(2, 3), torch.tensor([3, 2]), AugmentConfig(), mean=T.mean, std=T.std))
    assert torch.equal(*found)


def test_a_flip_mirrors_left_and_right() -> None:
    row, column = center(warp(spot(40, 30), replace(OFF, flip=1.0))[0, 0])
    assert (row, column) == pytest.approx((40 - 4, 87 - (30 - 4)), abs=0.05)


def test_a_shift_moves_by_at_most_its_pixels() -> None:
    torch.manual_seed(0)
    moved = [center(warp(spot(48, 48), replace(OFF, shift=5.0))[0, 0]) for _ in range(40)]
    off = torch.tensor(moved) - 44
    assert off.abs().max() <= 5.05
    assert off.abs().max() > 3


def test_a_rotation_turns_about_the_center() -> None:
    torch.manual_seed(0)
    places = torch.tensor([center(warp(spot(48, 78), replace(OFF, rotation=10.0))[0, 0]) for _ in range(20)])
    off = places - 43.5
    torch.testing.assert_close(off.norm(dim=1), torch.full((20,), 30.5), rtol=0.02, atol=0)
    angles = torch.rad2deg(torch.atan2(off[:, 0], off[:, 1]))
    assert 3 < angles.abs().max() < 12


def test_brightness_is_constant_within_a_clip() -> None:
    torch.manual_seed(0)
    roi = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(2, 4, 16, 16)
    found = jitter_brightness(roi, AugmentConfig())
    assert torch.equal(found, found[:, :1].expand_as(found))
    assert not torch.allclose(found[0], found[1])
    assert found.min() >= 0
    assert found.max() <= 1
    assert (found.flatten(2).diff() >= 0).all()  # brighter pixels stay brighter


def test_noise_differs_between_clips_and_frames() -> None:
    torch.manual_seed(0)
    found = corrupt(torch.full((2, 2, 88, 88), 0.5), replace(OFF, noise=0.05)) - 0.5
    flat = found.flatten(2)
    flat = flat / flat.norm(dim=2, keepdim=True)
    assert abs(float((flat[0, 0] * flat[0, 1]).sum())) < 0.1
    assert abs(float((flat[0, 0] * flat[1, 0]).sum())) < 0.1
    assert 0 < found.std() < 0.05


def test_erasing_affects_one_rectangle() -> None:
    torch.manual_seed(1)
    x = torch.full((1, 3, 88, 88), 2.0)
    erased = (corrupt(x, replace(OFF, random_erasing=1.0)) != 2)[0]
    assert torch.equal(erased, erased[:1].expand_as(erased))
    rows, columns = erased[0].any(1).sum(), erased[0].any(0).sum()
    assert erased[0].sum() == rows * columns
    assert 11 <= rows < 30
    assert 11 <= columns < 30


def test_time_masks_show_the_mean_frame_of_the_clip() -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 60, 4, 4)
    original = x.clone()
    mask_time(x, torch.tensor([50]), replace(OFF, time_mask=5, time_masks_per_second=2.0))
    changed = (x != original).flatten(2).any(2)[0]
    assert 0 < changed.sum() < 50
    assert not changed[50:].any()


def test_resampling_to_the_same_length_is_the_identity() -> None:
    x = torch.rand(3, 7)
    assert torch.equal(resample_linear(x, 7), x)
    assert torch.equal(resample_nearest(x, 7), x)


@pytest.mark.parametrize("steps", [17, 19, 23, 31, 40])
def test_linear_and_nearest_resampling_stay_aligned(steps: int) -> None:
    ramp = torch.arange(24.0)
    smooth, nearest = resample_linear(ramp, steps), resample_nearest(ramp, steps)
    assert (smooth - nearest).abs().max() <= 0.5 + 1e-4
    assert abs(float((smooth - nearest).mean())) < 0.1


def test_frames_and_mel_stay_aligned_when_the_speed_changes() -> None:
    frames, mel = (
        torch.arange(30.0),
        (torch.arange(120.0) - 1.5) / 4,
    )  # in video frames, at each step's middle
    found = resample_linear(mel, 4 * 27).unflatten(0, (27, 4)).mean(1)
    assert (found - resample_nearest(frames, 27)).abs().max() < 0.6
