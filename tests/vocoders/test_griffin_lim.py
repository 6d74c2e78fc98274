"""Waveform from a mel without training (lip2speech/vocoders/griffin_lim.py)."""

import pytest
import torch
from torch import Tensor

from lip2speech.audio.mel import LogMel, MelConfig
from lip2speech.models.prediction import Prediction
from lip2speech.vocoders import GriffinLim
from tests.factories import synthetic_voice


def resynthesize(wav: Tensor, config: MelConfig, iterations: int = 32) -> Tensor:
    mel = LogMel(config)(wav[None, None])
    return GriffinLim(config, iterations)(Prediction(mel=mel))[0, 0]


def test_the_output_has_the_given_mel() -> None:
    wav = synthetic_voice(20, 140.0)
    output = resynthesize(wav, MelConfig())
    ours, theirs = (LogMel()(x[None, None])[0, :40] for x in (output, wav))  # where the voice has harmonics
    loud = theirs > theirs.max() - 5
    assert (ours - theirs)[loud].abs().mean() < 0.25


def test_more_iterations_reduce_the_error() -> None:
    wav = synthetic_voice(20, 140.0)
    target = LogMel()(wav[None, None]).exp()
    few, many = (
        (LogMel()(resynthesize(wav, MelConfig(), n)[None, None]).exp() - target).norm() for n in (1, 32)
    )
    assert many < few


@pytest.mark.parametrize("pad", ["same", "center"])
def test_a_burst_keeps_its_time(pad) -> None:
    wav = torch.zeros(16_000)
    wav[6_400:8_000] = synthetic_voice(25, 140.0)[6_400:8_000]
    output = resynthesize(wav, MelConfig(pad=pad))[:16_000]
    time = torch.arange(len(output))
    middle, expected = ((x.pow(2) * time[: len(x)]).sum() / x.pow(2).sum() for x in (output, wav))
    assert abs(middle - expected) < 40  # samples: 2.5 ms


def test_a_power_mel_gives_the_same_level() -> None:
    wav = synthetic_voice(20, 140.0)
    level, power_level = (resynthesize(wav, MelConfig(power=p)).pow(2).mean().sqrt() for p in (1.0, 2.0))
    assert power_level == pytest.approx(float(level), rel=0.3)


def test_the_output_is_deterministic() -> None:
    mel = LogMel()(synthetic_voice(5, 140.0)[None, None])
    vocoder = GriffinLim()
    assert torch.equal(vocoder(Prediction(mel=mel)), vocoder(Prediction(mel=mel)))


@pytest.mark.parametrize("size", [1, 4, 16])
def test_streaming_is_about_as_close_to_the_mel(size: int) -> None:
    wav, vocoder = synthetic_voice(20, 140.0), GriffinLim()
    mel = LogMel()(wav[None, None])
    chunks, state = [], None
    for part in mel.split(size, -1):
        chunk, state = vocoder.step(Prediction(mel=part), state)
        chunks.append(chunk)
    output = sum(chunk.shape[-1] for chunk in chunks)
    assert output == mel.shape[-1] * 160 - vocoder.latency == mel.shape[-1] * 160 - 600
    streamed = torch.cat([*chunks, vocoder.finish(state)], -1)
    assert streamed.shape == (1, 1, len(wav))
    errors = [
        (LogMel()(x).exp() - mel.exp()).norm() / mel.exp().norm()
        for x in (streamed, vocoder(Prediction(mel=mel)))
    ]
    assert errors[0] < errors[1] + 0.05


def test_streamed_samples_do_not_depend_on_later_frames() -> None:
    mel = LogMel()(synthetic_voice(10, 140.0)[None, None])
    other = torch.cat([mel[..., :20], mel[..., 20:].flip(-1)], -1)
    output = []
    for x in (mel, other):
        chunks, state, vocoder = [], None, GriffinLim()
        for part in x.split(4, -1):
            chunk, state = vocoder.step(Prediction(mel=part), state)
            chunks.append(chunk)
        output.append(torch.cat(chunks, -1)[..., : 20 * 160 - vocoder.latency])
    assert torch.equal(*output)


def test_a_burst_keeps_its_time_in_streaming() -> None:
    wav = torch.zeros(16_000)
    wav[6_400:8_000] = synthetic_voice(25, 140.0)[6_400:8_000]
    vocoder, time = GriffinLim(), torch.arange(16_000)
    chunk, state = vocoder.step(Prediction(mel=LogMel()(wav[None, None])))
    output = torch.cat([chunk, vocoder.finish(state)], -1)[0, 0]
    middle, expected = ((x.pow(2) * time).sum() / x.pow(2).sum() for x in (output, wav))
    assert abs(middle - expected) < 40  # samples: 2.5 ms


def test_a_centered_mel_does_not_stream() -> None:
    with pytest.raises(ValueError, match='pad "same"'):
        GriffinLim(MelConfig(pad="center")).step(Prediction(mel=torch.zeros(1, 80, 4)))
