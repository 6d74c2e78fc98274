"""A voice as a vector (lip2speech/speaker.py)."""

import math

import pytest
import torch
from torch import Tensor

from lip2speech import speaker
from lip2speech.speaker import SPEAKER_DIM, embed_speaker, pitch_quantiles, shorten_tract
from tests.tiny import buzz


def sine(hz: float, seconds: float = 1.0) -> Tensor:
    return torch.sin(2 * math.pi * hz * torch.arange(int(16_000 * seconds)) / 16_000)


def pulses(hz: float, seconds: float = 1.0) -> Tensor:
    """A pulse train as a glottis makes it, softened: its fundamental is not its strongest partial."""
    wav = torch.zeros(int(16_000 * seconds))
    wav[(torch.arange(int(hz * seconds)) * 16_000 / hz).long()] = 1.0
    kernel = torch.exp(-torch.arange(40.0) / 6)
    return torch.nn.functional.conv1d(wav[None, None], kernel.flip(0)[None, None], padding=39)[0, 0, :-39]


def sweep(low: float, high: float) -> Tensor:
    """Three seconds that rise evenly from `low` to `high` Hz."""
    hz = torch.linspace(low, high, 48_000)
    return torch.sin(2 * math.pi * (hz / 16_000).cumsum(0))


def test_a_vector_has_its_size_and_is_finite() -> None:
    vector = embed_speaker(buzz(25, 120.0))
    assert vector.shape == (SPEAKER_DIM,)
    assert vector.dtype == torch.float32
    assert torch.isfinite(vector).all()


@pytest.mark.parametrize("hz", [100, 150, 220])
@pytest.mark.parametrize("make", [sine, pulses])
def test_the_pitch_of_a_tone_is_found_within_3_percent(make, hz: int) -> None:
    found = 128 * 2 ** pitch_quantiles(make(hz))
    torch.testing.assert_close(found, torch.full((3,), float(hz)), rtol=0.03, atol=0)


def test_quantiles_of_a_rising_tone_lie_where_they_should() -> None:
    found = 128 * 2 ** pitch_quantiles(sweep(100, 200))
    torch.testing.assert_close(found, torch.tensor([110.0, 150.0, 190.0]), rtol=0.03, atol=0)


def test_noise_has_no_pitch() -> None:
    noise = torch.randn(16_000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(pitch_quantiles(noise), torch.zeros(3))


def test_a_long_recording_is_worked_on_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pitch_quantiles(sweep(100, 200))
    monkeypatch.setattr(speaker, "FRAMES_AT_ONCE", 7)
    assert torch.equal(pitch_quantiles(sweep(100, 200)), whole)


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
        (sine(100, 0.3), "0.5 s of speech, got 0.30 s"),
        (torch.zeros(0), "got 0.00 s"),
        (torch.zeros(1, 16_000), r"must be \(T_a,\) at 16000 Hz, got \(1, 16000\)"),
    ],
)
def test_what_is_no_voice_is_refused(wav: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        embed_speaker(wav)


def test_another_sample_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="at 8000 Hz"):
        embed_speaker(sine(100), 8000)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_shorter_tract_is_the_same_sound_played_faster(factor: float) -> None:
    voice, faster = embed_speaker(buzz(50, 150.0)), embed_speaker(buzz(50, 150.0 * factor))
    moved = shorten_tract(voice, factor)
    torch.testing.assert_close(moved[160:], faster[160:], rtol=0, atol=math.log2(1.03))
    assert (moved[:80] - faster[:80]).abs().mean() < 0.7 * (voice[:80] - faster[:80]).abs().mean()


def test_a_voice_without_pitch_gets_none_from_a_shorter_tract() -> None:
    voice = torch.cat([torch.linspace(-1, 1, 160), torch.zeros(3)])
    assert not shorten_tract(voice, 1.2)[160:].any()
