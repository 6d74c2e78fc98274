"""Joining, fading and muting without clicks (lip2speech/audio/crossfade.py)."""

from typing import Any

import pytest
import torch

from lip2speech.audio.crossfade import TONE_LEVEL, GainEnvelope, crossfade, fade_out


def test_a_join_lies_where_both_renderings_are_quiet() -> None:
    old, new = torch.ones(6400), torch.ones(12_800) * 0.5
    old[3200:3360] = new[3200:3360] = 0
    joined = crossfade(old, new)
    assert torch.equal(joined[:3200], torch.ones(3200))
    assert not joined[3200:3360].any()
    assert torch.equal(joined[3360:], torch.full((9440,), 0.5))


def test_a_join_fades_from_one_rendering_to_the_other() -> None:
    joined = crossfade(torch.zeros(6400), torch.ones(12_800))
    assert len(joined) == 12_800
    assert (joined.diff() >= 0).all()
    assert joined.diff().max() < 0.01


@pytest.mark.parametrize(
    ("old", "new"), [(0, 640), (640, 640), (640, 300), (640, 641), (100, 300), (160, 640), (640, 0)]
)
def test_two_renderings_of_one_signal_join_to_that_signal(old: int, new: int) -> None:
    signal = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(crossfade(signal[:old], signal[:new]), signal[: max(old, new)])


def test_the_end_fades_out() -> None:
    faded = fade_out(torch.ones(400))
    assert faded[:240].eq(1).all()
    assert faded[-1] == 0
    assert len(fade_out(torch.zeros(0))) == 0


def apply_envelope(mode: Any, frames: str, step: int = 100) -> torch.Tensor:
    """Ones through an envelope: "x" is a confident frame, "?" one with low confidence, "." one without a
    mouth."""
    envelope = GainEnvelope(mode)
    for frame in frames:
        envelope.add(frame != ".", frame == "x")
    return torch.cat([envelope(piece) for piece in torch.ones(640 * len(frames)).split(step)])


def test_frames_without_a_mouth_are_muted_with_10_ms_fades() -> None:
    gains = apply_envelope("keep", "x..x")
    assert gains[:640].eq(1).all()
    assert gains[800 : 3 * 640].eq(0).all()
    assert gains[3 * 640 + 160 :].eq(1).all()
    assert gains.diff().abs().max() < 1 / 160 + 1e-6


def test_keep_keeps_low_confidence_speech() -> None:
    assert torch.equal(apply_envelope("keep", "x??x"), torch.ones(4 * 640))


def test_mute_mutes_low_confidence_speech() -> None:
    wav = apply_envelope("mute", "x??x")
    assert wav[:640].eq(1).all()
    assert not wav[800 : 3 * 640].any()
    assert wav[3 * 640 + 160 :].eq(1).all()
    assert wav.diff().abs().max() < 1 / 160 + 1e-6


@pytest.mark.parametrize("step", [1, 100, 5000])
def test_tone_replaces_low_confidence_speech_without_a_click(step: int) -> None:
    wav = apply_envelope("tone", "x???x", step)
    tone = wav[800 : 4 * 640]
    assert tone.abs().max() == pytest.approx(TONE_LEVEL, rel=0.01)
    assert abs(tone.mean()) < 0.1 * TONE_LEVEL
    assert wav.diff().abs().max() < 1 / 160 + 0.003
    torch.testing.assert_close(wav, apply_envelope("tone", "x???x", 640))


def test_there_is_no_tone_where_no_mouth_is_visible() -> None:
    wav = apply_envelope("tone", "x?..?x")
    assert not wav[2 * 640 + 160 : 4 * 640].any()
    assert wav[4 * 640 : 5 * 640].any()


def test_after_a_reset_audio_fades_in_from_silence() -> None:
    envelope = GainEnvelope()
    envelope.reset()
    envelope.add(True)
    wav = envelope(torch.ones(640))
    assert wav[0] < 0.01
    assert wav[160:].eq(1).all()
