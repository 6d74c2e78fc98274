"""F0 of recordings (lip2speech/audio/pitch.py)."""

import math

import pytest
import torch
from torch import Tensor

from lip2speech.audio import pitch
from lip2speech.audio.mel import LogMel
from lip2speech.audio.pitch import interpolate_unvoiced, pitch_contour, pitch_quantiles


def sine(hz: float, seconds: float = 1.0) -> Tensor:
    return torch.sin(2 * math.pi * hz * torch.arange(int(16_000 * seconds)) / 16_000)


def pulses(hz: float, seconds: float = 1.0) -> Tensor:
    """A low-passed pulse train, like a glottal source: the fundamental is not the strongest partial."""
    wav = torch.zeros(int(16_000 * seconds))
    wav[(torch.arange(int(hz * seconds)) * 16_000 / hz).long()] = 1.0
    kernel = torch.exp(-torch.arange(40.0) / 6)
    return torch.nn.functional.conv1d(wav[None, None], kernel.flip(0)[None, None], padding=39)[0, 0, :-39]


def sweep(low: float, high: float) -> Tensor:
    """Three seconds of a linear sweep from `low` to `high` Hz."""
    hz = torch.linspace(low, high, 48_000)
    return torch.sin(2 * math.pi * (hz / 16_000).cumsum(0))


@pytest.mark.parametrize("hz", [100, 150, 220])
@pytest.mark.parametrize("make", [sine, pulses])
def test_the_pitch_of_a_tone_is_found_within_3_percent(make, hz: int) -> None:
    found = 128 * 2 ** pitch_quantiles(make(hz))
    torch.testing.assert_close(found, torch.full((3,), float(hz)), rtol=0.03, atol=0)


def test_the_quantiles_of_a_sweep_are_known() -> None:
    found = 128 * 2 ** pitch_quantiles(sweep(100, 200))
    torch.testing.assert_close(found, torch.tensor([110.0, 150.0, 190.0]), rtol=0.03, atol=0)


def test_noise_has_no_pitch() -> None:
    noise = torch.randn(16_000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(pitch_quantiles(noise), torch.zeros(3))


def test_batches_of_frames_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pitch_quantiles(sweep(100, 200))
    monkeypatch.setattr(pitch, "FRAMES_PER_BATCH", 7)
    assert torch.equal(pitch_quantiles(sweep(100, 200)), whole)


def test_room_rumble_is_ignored() -> None:
    time_s = torch.arange(48_000) / 16_000
    rumble = sum(torch.sin(2 * math.pi * hz * time_s + hz) for hz in (3.0, 4.0, 5.5, 8.0))
    voice = torch.cat([pulses(110), torch.zeros(32_000)])
    torch.testing.assert_close(pitch_quantiles(voice + 3 * rumble), pitch_quantiles(voice), rtol=0, atol=0.03)


def test_a_contour_has_the_frame_rate_of_the_mel() -> None:
    for samples in (0, 159, 160, 6400, 6500):
        wav = pulses(110)[:samples]
        assert pitch_contour(wav).shape == (2, samples // 160)
        assert LogMel()(wav[None, None]).shape[-1] == samples // 160


def test_a_contour_follows_voiced_segments_and_interpolates_pauses() -> None:
    wav = torch.cat([pulses(100), torch.zeros(16_000), pulses(150)])
    height, voiced = pitch_contour(wav)
    hz = 128 * 2**height
    assert voiced[5:95].mean() > 0.95
    assert voiced[205:295].mean() > 0.95
    assert voiced[105:195].sum() == 0
    torch.testing.assert_close(hz[10:90], torch.full((80,), 100.0), rtol=0.03, atol=0)
    torch.testing.assert_close(hz[210:290], torch.full((80,), 150.0), rtol=0.03, atol=0)
    assert (height[105:195].diff() > 0).all()


def test_silence_has_no_pitch() -> None:
    assert not pitch_contour(torch.zeros(16_000)).any()


def test_unvoiced_frames_are_interpolated_linearly_and_extended_at_the_ends() -> None:
    values, known = torch.tensor([9.0, 1.0, 9.0, 9.0, 4.0, 9.0]), torch.tensor([0, 1, 0, 0, 1, 0]).bool()
    torch.testing.assert_close(
        interpolate_unvoiced(values, known), torch.tensor([1.0, 1.0, 2.0, 3.0, 4.0, 4.0])
    )


@pytest.mark.parametrize("hz", [97.3, 203.7, 311.0])
def test_f0_has_subsample_accuracy(hz: float) -> None:
    found = 128 * 2 ** float(pitch_quantiles(sine(hz))[1])
    assert found == pytest.approx(hz, rel=0.002)
