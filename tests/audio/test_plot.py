"""Spectrogram images (lip2speech/audio/plot.py)."""

import numpy as np
import pytest
import torch

from lip2speech.audio.plot import mel_image


@pytest.mark.parametrize("frames", [0, 1, 7])
def test_the_image_has_the_requested_pixels_per_band_and_frame(frames: int) -> None:
    image = mel_image(torch.zeros(80, frames), pixels_per_band=3, pixels_per_frame=5)
    assert image.shape == (240, 5 * frames, 3)
    assert image.dtype == np.uint8


def test_low_frequencies_are_at_the_bottom_and_loud_is_bright() -> None:
    mel = torch.full((80, 4), -20.0)
    mel[0] = 0.0
    image = mel_image(mel)
    assert image[-4:].min() > 180
    assert image[:-4].max() < 10


def test_levels_below_the_dynamic_range_share_one_color() -> None:
    mel = np.array([[0.0, -8.0, -9.0, -4.0]], np.float32)
    colors = mel_image(mel, pixels_per_band=1, pixels_per_frame=1)[0].tolist()
    assert colors[1] == colors[2] != colors[3]


def test_the_absolute_level_does_not_matter() -> None:
    mel = torch.rand(80, 10)
    assert np.array_equal(mel_image(mel), mel_image(mel.numpy() - 3))
