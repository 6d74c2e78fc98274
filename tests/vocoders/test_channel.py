"""The channel vocoder (lip2speech/vocoders/channel.py): pitch and mel of the output, streaming."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lip2speech.audio.mel import LogMel, MelConfig
from lip2speech.audio.pitch import pitch_contour, pitch_quantiles
from lip2speech.models.prediction import Prediction
from lip2speech.vocoders.channel import NOISE_SAMPLES, ChannelVocoder, interpolation_matrix


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


def given(frames: int, hz: float = 120.0, logit: float = 9.0, wav: Tensor | None = None) -> Prediction:
    mel = LogMel()((vowel(frames) if wav is None else wav)[None, None])
    pitch = torch.tensor([math.log2(hz / 128), logit])[None, :, None].expand(1, 2, frames)
    return Prediction(mel=mel, pitch=pitch)


@pytest.mark.parametrize("frames", [1, 2, 7, 100])
def test_a_mel_frame_becomes_160_samples(frames: int) -> None:
    wav = ChannelVocoder()(given(frames))
    assert wav.shape == (1, 1, 160 * frames)
    assert torch.isfinite(wav).all()
    assert wav.abs().max() <= 1


@pytest.mark.parametrize("hz", [90, 120, 210])
def test_the_output_has_the_given_pitch(hz: int) -> None:
    wav = ChannelVocoder()(given(100, hz))[0, 0]
    torch.testing.assert_close(
        128 * 2 ** pitch_quantiles(wav), torch.full((3,), float(hz)), rtol=0.03, atol=0
    )


def test_unvoiced_frames_are_noise_for_a_speaker_without_pitch_and_periodic_for_any_other() -> None:
    output, voices = given(100, logit=-9.0), torch.eye(5)[3:]
    whispered, voiced = (
        ChannelVocoder()(replace(output, speaker=voice[None]))[0, 0]
        for voice in (torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0]), *voices[:1])
    )
    assert pitch_contour(whispered)[1].mean() < 0.3
    assert pitch_contour(voiced)[1].mean() > 0.9
    torch.testing.assert_close(ChannelVocoder()(output)[0, 0], voiced)  # without a speaker embedding


def test_unvoiced_frames_are_noise_above_three_kilohertz() -> None:
    output = given(100, logit=-9.0, wav=torch.randn(16_000, generator=torch.Generator().manual_seed(2)) / 9)
    wav = ChannelVocoder()(output)[0, 0]
    spectrum = torch.stft(wav, 1600, 1600, window=torch.hann_window(1600), return_complex=True).abs()[:, 2:-2]
    beside = torch.arange(6, 790, 12)  # bins of 10 Hz between the harmonics of 120 Hz
    ratio = (spectrum[beside] / spectrum[beside + 6].clamp_min(1e-9)).median(-1).values
    assert ratio[beside < 250].median() < 0.2
    assert ratio[beside > 350].median() > 0.5


def test_the_output_has_the_given_mel_and_iterations_reduce_the_error() -> None:
    p = given(100)
    loud = p.require("mel") > -6
    off = [
        (LogMel()(ChannelVocoder(iterations=n)(p)) - p.require("mel"))[loud].abs().mean() for n in (0, 1, 3)
    ]
    assert off[2] < off[1] < off[0] < 0.8


@pytest.mark.parametrize("iterations", [0, 1, 2])
@pytest.mark.parametrize("sizes", [[1] * 60, [4] * 15, [7, 1, 30, 2, 20], [60]])
def test_streaming_equals_one_pass(iterations: int, sizes: list[int]) -> None:
    vocoder, full = ChannelVocoder(iterations=iterations), given(60)
    rising = torch.linspace(-0.5, 0.7, 60).expand(1, 1, 60)
    full = Prediction(mel=full.mel, pitch=torch.cat([rising, 4 * torch.sin(9 * rising)], 1))
    chunks, state, at = [], None, 0
    for size in sizes:
        chunk_prediction = Prediction(
            mel=full.mel[..., at : at + size], pitch=full.pitch[..., at : at + size]
        )  # type: ignore[index]
        chunk, state = vocoder.step(chunk_prediction, state)
        at += size
        assert sum(p.shape[-1] for p in chunks) + chunk.shape[-1] >= 160 * at - vocoder.latency
        chunks.append(chunk)
    chunks.append(vocoder.finish(state))  # type: ignore[arg-type]
    torch.testing.assert_close(torch.cat(chunks, -1), vocoder(full), atol=2e-5, rtol=0)


def test_the_streaming_state_is_bounded() -> None:
    vocoder, state = ChannelVocoder(), None
    for _ in range(60):
        _, state = vocoder.step(given(4), state)
    assert state is not None
    assert state.mel.shape[-1] <= 2 * vocoder.context


def test_items_of_a_batch_are_independent() -> None:
    one, two = given(40, 100), given(40, 200)
    both = Prediction(mel=torch.cat([one.mel, two.mel]), pitch=torch.cat([one.pitch, two.pitch]))  # type: ignore[list-item]
    vocoder = ChannelVocoder()
    torch.testing.assert_close(vocoder(both), torch.cat([vocoder(one), vocoder(two)]), atol=1e-5, rtol=0)


def test_an_unsupported_mel_is_refused() -> None:
    with pytest.raises(ValueError, match='needs magnitude mels with pad "same"'):
        ChannelVocoder(MelConfig(pad="center"))


def test_a_prediction_without_pitch_is_refused() -> None:
    with pytest.raises(ValueError, match="this vocoder needs pitch"):
        ChannelVocoder()(Prediction(mel=torch.zeros(1, 80, 4)))


def test_interpolation_is_linear_between_centers_and_constant_outside() -> None:
    matrix = interpolation_matrix(
        torch.tensor([100.0, 200.0]), torch.tensor([0.0, 100.0, 150.0, 200.0, 900.0])
    )
    expected = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [0.0, 1.0]])
    torch.testing.assert_close(matrix, expected)


def test_the_noise_has_a_flat_envelope_in_every_band_and_is_circular() -> None:
    vocoder = ChannelVocoder()
    white = torch.randn(NOISE_SAMPLES, generator=torch.Generator().manual_seed(1))
    fluctuation, white_fluctuation = (
        LogMel()(noise[None, None])[0].std(-1).mean() for noise in (vocoder.noise, white)
    )
    assert fluctuation < 0.65 * white_fluctuation
    assert vocoder.noise.square().mean() == pytest.approx(1, abs=1e-4)
    seam = torch.cat([vocoder.noise[-4000:], vocoder.noise[:4000]])
    at_seam = LogMel()(seam[None, None])[0, :, 20:30].std(-1).mean()
    assert at_seam < 0.8 * white_fluctuation
    again = ChannelVocoder()
    assert torch.equal(again.noise, vocoder.noise)
