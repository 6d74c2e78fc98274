"""Sound from a mel without any training (lip2speech/vocoders/griffin_lim.py)."""

import pytest
import torch
from torch import Tensor

from lip2speech.audio.mel import LogMel, MelConfig
from lip2speech.models.prediction import Prediction
from lip2speech.vocoders import GriffinLim
from tests.factories import buzz


def resynthesise(wav: Tensor, config: MelConfig, iterations: int = 32) -> Tensor:
    mel = LogMel(config)(wav[None, None])
    return GriffinLim(config, iterations)(Prediction(mel=mel))[0, 0]


def test_the_mel_of_the_sound_is_the_mel_it_was_made_of() -> None:
    wav = buzz(20, 140.0)
    made = resynthesise(wav, MelConfig())
    ours, theirs = (LogMel()(x[None, None])[0, :40] for x in (made, wav))  # where the buzz has its partials
    loud = theirs > theirs.max() - 5
    assert (ours - theirs)[loud].abs().mean() < 0.25


def test_more_iterations_come_nearer() -> None:
    wav = buzz(20, 140.0)
    target = LogMel()(wav[None, None]).exp()
    few, many = (
        (LogMel()(resynthesise(wav, MelConfig(), n)[None, None]).exp() - target).norm() for n in (1, 32)
    )
    assert many < few


@pytest.mark.parametrize("pad", ["same", "center"])
def test_a_burst_sounds_when_it_did(pad) -> None:
    wav = torch.zeros(16_000)
    wav[6_400:8_000] = buzz(25, 140.0)[6_400:8_000]
    made = resynthesise(wav, MelConfig(pad=pad))[:16_000]
    time = torch.arange(len(made))
    middle, expected = ((x.pow(2) * time[: len(x)]).sum() / x.pow(2).sum() for x in (made, wav))
    assert abs(middle - expected) < 40  # samples: 2.5 ms


def test_a_power_mel_gives_the_same_level() -> None:
    wav = buzz(20, 140.0)
    level, power_level = (resynthesise(wav, MelConfig(power=p)).pow(2).mean().sqrt() for p in (1.0, 2.0))
    assert power_level == pytest.approx(float(level), rel=0.3)


def test_it_is_the_same_every_time() -> None:
    mel = LogMel()(buzz(5, 140.0)[None, None])
    vocoder = GriffinLim()
    assert torch.equal(vocoder(Prediction(mel=mel)), vocoder(Prediction(mel=mel)))


@pytest.mark.parametrize("size", [1, 4, 16])
def test_live_it_comes_as_near_to_the_mel(size: int) -> None:
    wav, vocoder = buzz(20, 140.0), GriffinLim()
    mel = LogMel()(wav[None, None])
    pieces, state = [], None
    for part in mel.split(size, -1):
        piece, state = vocoder.step(Prediction(mel=part), state)
        pieces.append(piece)
    said = sum(piece.shape[-1] for piece in pieces)
    assert said == mel.shape[-1] * 160 - vocoder.late == mel.shape[-1] * 160 - 600
    live = torch.cat([*pieces, vocoder.finish(state)], -1)
    assert live.shape == (1, 1, len(wav))
    errors = [
        (LogMel()(x).exp() - mel.exp()).norm() / mel.exp().norm()
        for x in (live, vocoder(Prediction(mel=mel)))
    ]
    assert errors[0] < errors[1] + 0.05


def test_live_what_is_said_stays() -> None:
    mel = LogMel()(buzz(10, 140.0)[None, None])
    other = torch.cat([mel[..., :20], mel[..., 20:].flip(-1)], -1)
    said = []
    for x in (mel, other):
        pieces, state, vocoder = [], None, GriffinLim()
        for part in x.split(4, -1):
            piece, state = vocoder.step(Prediction(mel=part), state)
            pieces.append(piece)
        said.append(torch.cat(pieces, -1)[..., : 20 * 160 - vocoder.late])
    assert torch.equal(*said)


def test_a_burst_sounds_live_when_it_did() -> None:
    wav = torch.zeros(16_000)
    wav[6_400:8_000] = buzz(25, 140.0)[6_400:8_000]
    vocoder, time = GriffinLim(), torch.arange(16_000)
    piece, state = vocoder.step(Prediction(mel=LogMel()(wav[None, None])))
    made = torch.cat([piece, vocoder.finish(state)], -1)[0, 0]
    middle, expected = ((x.pow(2) * time).sum() / x.pow(2).sum() for x in (made, wav))
    assert abs(middle - expected) < 40  # samples: 2.5 ms


def test_a_centred_mel_does_not_run_step_by_step() -> None:
    with pytest.raises(ValueError, match='pad "same"'):
        GriffinLim(MelConfig(pad="center")).step(Prediction(mel=torch.zeros(1, 80, 4)))
