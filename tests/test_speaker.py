"""A voice as a vector (lip2speech/speaker.py)."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lip2speech.speaker import SPEAKER_DIM, embed_speaker, read_vector, shorten_tract
from tests.tiny import buzz


def test_a_vector_has_its_size_and_is_finite() -> None:
    vector = embed_speaker(buzz(25, 120.0))
    assert vector.shape == (SPEAKER_DIM,)
    assert vector.dtype == torch.float32
    assert torch.isfinite(vector).all()


@pytest.mark.parametrize("gain", [0.01, 0.3, 2.0])
def test_a_vector_does_not_depend_on_the_level(gain: float) -> None:
    wav = buzz(25, 150.0)
    torch.testing.assert_close(embed_speaker(gain * wav), embed_speaker(wav), rtol=0, atol=1e-3)


def test_pauses_do_not_change_a_vector_much() -> None:
    wav = buzz(50, 150.0)
    paused = torch.cat([torch.zeros(16_000), wav, torch.zeros(16_000)])
    assert (embed_speaker(paused) - embed_speaker(wav)).abs().mean() < 0.02


def test_low_and_high_voices_differ() -> None:
    low, high = embed_speaker(buzz(25, 100.0)), embed_speaker(buzz(25, 220.0))
    assert high[-2] - low[-2] == pytest.approx(math.log2(2.2), abs=0.05)


@pytest.mark.parametrize(
    ("wav", "message"),
    [
        (torch.zeros(16_000), "audible speech, the peak is 0; record louder"),
        (torch.full((16_000,), float("nan")), "audible speech, the peak is nan"),
        (torch.ones(4_800), "0.5 s of speech, got 0.30 s"),
        (torch.zeros(0), "got 0.00 s"),
        (torch.zeros(1, 16_000), r"must be \(T_a,\) at 16000 Hz, got \(1, 16000\)"),
    ],
)
def test_what_is_no_voice_is_refused(wav: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        embed_speaker(wav)


def test_another_sample_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="at 8000 Hz"):
        embed_speaker(torch.ones(8_000), 8000)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_shorter_tract_is_the_same_sound_played_faster(factor: float) -> None:
    voice, faster = embed_speaker(buzz(50, 150.0)), embed_speaker(buzz(50, 150.0 * factor))
    moved = shorten_tract(voice, factor)
    torch.testing.assert_close(moved[160:], faster[160:], rtol=0, atol=math.log2(1.03))
    assert (moved[:80] - faster[:80]).abs().mean() < 0.7 * (voice[:80] - faster[:80]).abs().mean()


def test_a_voice_without_pitch_gets_none_from_a_shorter_tract() -> None:
    voice = torch.cat([torch.linspace(-1, 1, 160), torch.zeros(3)])
    assert not shorten_tract(voice, 1.2)[160:].any()


def test_a_vector_of_another_encoder_comes_as_a_file(tmp_path: Path) -> None:
    vector, path = np.linspace(-1, 1, 256), tmp_path / "voice.npy"
    np.save(path, vector)
    torch.testing.assert_close(read_vector(str(path), 256), torch.from_numpy(vector).float())


@pytest.mark.parametrize(
    "wrong", [np.zeros(9), np.full(256, np.nan), np.arange(256), np.array([{}] * 256), b"no numpy", None]
)
def test_a_file_that_is_no_vector_is_refused(wrong: Any, tmp_path: Path) -> None:
    path = tmp_path / "voice.npy"
    if isinstance(wrong, bytes):
        path.write_bytes(wrong)
    elif wrong is not None:
        np.save(path, wrong)
    with pytest.raises(ValueError, match="voice.npy: is no voice vector of 256 numbers"):
        read_vector(str(path), 256)
