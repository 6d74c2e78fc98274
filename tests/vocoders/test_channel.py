"""The channel vocoder (lip2speech/vocoders/channel.py): pitch and loudness as asked, live as well as whole."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lip2speech.audio.mel import LogMel, MelConfig
from lip2speech.audio.pitch import pitch_contour, pitch_quantiles
from lip2speech.models.prediction import Prediction
from lip2speech.vocoders.channel import NOISE_SAMPLES, ChannelVocoder, lines_between


def vowel(frames: int, hz: float = 120.0) -> Tensor:
    """Pulses through two resonances, (160 frames,)."""
    wav = torch.zeros(160 * frames)
    wav[(torch.arange(int(frames * hz / 100)) * 16_000 / hz).long()] = 1.0
    time_s = torch.arange(400) / 16_000
    kernel = sum(torch.exp(-200 * time_s) * torch.sin(2 * math.pi * f * time_s) for f in (600.0, 1500.0))
    return (
        0.3
        * torch.nn.functional.conv1d(wav[None, None], kernel.flip(0)[None, None], padding=399)[
            0, 0, : len(wav)
        ]
    )


def asked(frames: int, hz: float = 120.0, logit: float = 9.0, sound: Tensor | None = None) -> Prediction:
    mel = LogMel()((vowel(frames) if sound is None else sound)[None, None])
    pitch = torch.tensor([math.log2(hz / 128), logit])[None, :, None].expand(1, 2, frames)
    return Prediction(mel=mel, pitch=pitch)


@pytest.mark.parametrize("frames", [1, 2, 7, 100])
def test_a_frame_of_mel_is_160_samples(frames: int) -> None:
    wav = ChannelVocoder()(asked(frames))
    assert wav.shape == (1, 1, 160 * frames) and torch.isfinite(wav).all() and wav.abs().max() <= 1


@pytest.mark.parametrize("hz", [90, 120, 210])
def test_the_pitch_is_the_one_asked_for_whatever_made_the_mel(hz: int) -> None:
    wav = ChannelVocoder()(asked(100, hz))[0, 0]
    torch.testing.assert_close(
        128 * 2 ** pitch_quantiles(wav), torch.full((3,), float(hz)), rtol=0.03, atol=0
    )


def test_a_voice_without_a_pitch_whispers_what_is_unvoiced_and_any_other_hums_it() -> None:
    said, voices = asked(100, logit=-9.0), torch.eye(5)[3:]
    whispered, hummed = (
        ChannelVocoder()(replace(said, speaker=voice[None]))[0, 0]
        for voice in (torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0]), *voices[:1])
    )
    assert pitch_contour(whispered)[1].mean() < 0.3
    assert pitch_contour(hummed)[1].mean() > 0.9
    torch.testing.assert_close(ChannelVocoder()(said)[0, 0], hummed)  # nobody's voice is some voice


def test_above_three_kilohertz_all_that_is_unvoiced_is_breath() -> None:
    said = asked(100, logit=-9.0, sound=torch.randn(16_000, generator=torch.Generator().manual_seed(2)) / 9)
    wav = ChannelVocoder()(said)[0, 0]
    spectrum = torch.stft(wav, 1600, 1600, window=torch.hann_window(1600), return_complex=True).abs()[:, 2:-2]
    beside = torch.arange(6, 790, 12)  # lines of 10 Hz between the harmonics of 120 Hz
    ratio = (spectrum[beside] / spectrum[beside + 6].clamp_min(1e-9)).median(-1).values
    assert ratio[beside < 250].median() < 0.2 and ratio[beside > 350].median() > 0.5


def test_the_mel_comes_out_as_it_went_in_and_iterations_bring_it_nearer() -> None:
    p = asked(100)
    loud = p.require("mel") > -6
    off = [
        (LogMel()(ChannelVocoder(iterations=n)(p)) - p.require("mel"))[loud].abs().mean() for n in (0, 1, 3)
    ]
    assert off[2] < off[1] < off[0] < 0.8


@pytest.mark.parametrize("iterations", [0, 1, 2])
@pytest.mark.parametrize("sizes", [[1] * 60, [4] * 15, [7, 1, 30, 2, 20], [60]])
def test_live_says_what_whole_says(iterations: int, sizes: list[int]) -> None:
    vocoder, whole = ChannelVocoder(iterations=iterations), asked(60)
    rising = torch.linspace(-0.5, 0.7, 60).expand(1, 1, 60)
    whole = Prediction(mel=whole.mel, pitch=torch.cat([rising, 4 * torch.sin(9 * rising)], 1))
    pieces, state, at = [], None, 0
    for size in sizes:
        part = Prediction(mel=whole.mel[..., at : at + size], pitch=whole.pitch[..., at : at + size])  # type: ignore[index]
        piece, state = vocoder.step(part, state)
        at += size
        assert sum(p.shape[-1] for p in pieces) + piece.shape[-1] >= 160 * at - vocoder.late
        pieces.append(piece)
    pieces.append(vocoder.finish(state))  # type: ignore[arg-type]
    torch.testing.assert_close(torch.cat(pieces, -1), vocoder(whole), atol=2e-5, rtol=0)


def test_live_keeps_few_frames() -> None:
    vocoder, state = ChannelVocoder(), None
    for _ in range(60):
        _, state = vocoder.step(asked(4), state)
    assert state is not None and state.mel.shape[-1] <= 2 * vocoder.reach


def test_each_of_a_batch_is_said_alone() -> None:
    one, two = asked(40, 100), asked(40, 200)
    both = Prediction(mel=torch.cat([one.mel, two.mel]), pitch=torch.cat([one.pitch, two.pitch]))  # type: ignore[list-item]
    vocoder = ChannelVocoder()
    torch.testing.assert_close(vocoder(both), torch.cat([vocoder(one), vocoder(two)]), atol=1e-5, rtol=0)


def test_another_mel_is_refused() -> None:
    with pytest.raises(ValueError, match='takes mels of magnitudes with pad "same"'):
        ChannelVocoder(MelConfig(pad="center"))


def test_a_model_without_pitch_is_told() -> None:
    with pytest.raises(ValueError, match="this route needs pitch"):
        ChannelVocoder()(Prediction(mel=torch.zeros(1, 80, 4)))


def test_lines_go_through_the_centres_and_hold_the_ends() -> None:
    matrix = lines_between(torch.tensor([100.0, 200.0]), torch.tensor([0.0, 100.0, 150.0, 200.0, 900.0]))
    expected = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [0.0, 1.0]])
    torch.testing.assert_close(matrix, expected)


def test_the_breath_is_steady_in_every_band_and_goes_round() -> None:
    vocoder = ChannelVocoder()
    white = torch.randn(NOISE_SAMPLES, generator=torch.Generator().manual_seed(1))
    swing, plain = (LogMel()(noise[None, None])[0].std(-1).mean() for noise in (vocoder.breath, white))
    assert swing < 0.65 * plain
    assert vocoder.breath.square().mean() == pytest.approx(1, abs=1e-4)
    seam = torch.cat([vocoder.breath[-4000:], vocoder.breath[:4000]])
    at = LogMel()(seam[None, None])[0, :, 20:30].std(-1).mean()
    assert at < 0.8 * plain
    again = ChannelVocoder()
    assert torch.equal(again.breath, vocoder.breath)
