"""Clips by speaker and their augmentation (lip2speech/train/speaker/data.py)."""

import torch

from lip2speech.train.speaker.data import augment, is_held_out


def test_a_speaker_is_held_out_whatever_the_other_speakers() -> None:
    names = [f"synth/{i}" for i in range(200)]
    held_out = [name for name in names if is_held_out(name, 10)]
    assert 8 <= len(held_out) <= 40
    assert held_out[3:] == [name for name in names[names.index(held_out[3]) :] if is_held_out(name, 10)]


def test_augmentation_keeps_loud_places_and_fills_silence_with_noise() -> None:
    torch.manual_seed(0)
    mel = torch.full((4, 80, 60), -20.0)
    mel[:, 20:30, 20:40] = 0.0
    augmented = augment(mel, tilt=1.5, floor=4.0)
    assert (augmented[:, 20:30, 20:40].mean() - augmented[:, 60:, :10].mean()) > 2
    assert (augmented[:, 60:] > mel[:, 60:] + 2).all()  # noise fills what was silent
