"""The input transform of the front end (lip2speech/models/frontends/transforms.py)."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lip2speech.models.frontends.transforms import Transform
from tests.models.golden import FOLDER

CLIP = torch.arange(2 * 3 * 96 * 96).remainder(256).to(torch.uint8).view(2, 3, 96, 96)


def test_the_center_crop_equals_the_official_transform() -> None:
    stored = load_file(FOLDER / "transform.safetensors")
    ours = Transform()(stored["frames"])
    torch.testing.assert_close(ours[0, 0], stored["video"][..., 0], rtol=0, atol=1e-6)


def test_the_mean_gray_level_becomes_zero() -> None:
    grey = torch.full((1, 96, 96), round(0.421 * 255), dtype=torch.uint8)
    assert Transform()(grey).abs().max() < 0.02


def test_a_clip_is_a_batch_of_one_and_may_be_a_numpy_array() -> None:
    batch = Transform()(CLIP)
    assert batch.shape == (2, 1, 3, 88, 88)
    assert batch.dtype == torch.float32
    assert Transform()(np.asarray(CLIP[1])).equal(batch[1:])


def test_the_crop_is_centered() -> None:
    columns = torch.arange(96, dtype=torch.uint8).expand(1, 96, 96)
    pixels = Transform(mean=0.0, std=1 / 255)(columns)[0, 0, 0, 0]
    assert pixels.round().tolist() == list(range(4, 92))


def test_a_random_crop_is_the_same_for_all_frames_and_reproducible() -> None:
    still = CLIP[:, :1].expand(2, 3, 96, 96)
    first = Transform().random(still, torch.Generator().manual_seed(1))
    again = Transform().random(still, torch.Generator().manual_seed(1))
    other = Transform().random(still, torch.Generator().manual_seed(2))
    assert first.shape == (2, 1, 3, 88, 88)
    assert first.equal(again)
    assert not first.equal(other)
    assert first[:, :, 0].equal(first[:, :, 2]), "one crop and one flip for all frames of a clip"


def test_half_of_the_random_clips_are_flipped() -> None:
    ramp = torch.arange(96, dtype=torch.uint8).expand(200, 1, 96, 96)
    crops = Transform().random(ramp, torch.Generator().manual_seed(0))[:, 0, 0, 0]
    flipped = int((crops[:, 0] > crops[:, -1]).sum())
    assert 70 < flipped < 130


@pytest.mark.parametrize("wrong", [torch.zeros(3, 96, 96), torch.zeros(96, 96, dtype=torch.uint8)])
def test_clips_that_are_not_uint8_are_refused(wrong: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="roi must be uint8"):
        Transform()(wrong)


def test_frames_smaller_than_the_crop_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 88 x 88"):
        Transform()(torch.zeros(1, 80, 96, dtype=torch.uint8))
