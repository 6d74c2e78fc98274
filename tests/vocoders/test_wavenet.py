"""WaveNet (lip2speech/vocoders/wavenet.py): the quick sampler says what the whole network says."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lip2speech import checkpoint
from lip2speech.audio.mel import MelConfig
from lip2speech.config import to_dict
from lip2speech.models.prediction import Prediction
from lip2speech.vocoders import wavenet
from lip2speech.vocoders.registry import load_vocoder
from lip2speech.vocoders.wavenet import AHEAD, WaveNet, WaveNetConfig, mu_law_decode, mu_law_encode

HOP = 8
MEL = MelConfig(sample_rate=800, n_fft=32, win_length=20, hop_length=HOP, n_mels=5, f_max=400.0)
TINY = WaveNetConfig(mel=MEL, speaker_dim=3, stacks=2, layers=3, channels=6, skip=7, condition=5, classes=16)


def build(config: WaveNetConfig = TINY) -> WaveNet:
    """Random weights, large enough that every path is heard in the logits."""
    torch.manual_seed(0)
    net = WaveNet(config).eval()
    for parameter in net.parameters():
        parameter.data.mul_(2.0)
    return net


def prediction(batch: int, frames: int, seed: int = 1) -> Prediction:
    generator = torch.Generator().manual_seed(seed)
    mel = torch.randn(batch, 5, frames, generator=generator)
    return Prediction(mel=mel, speaker=torch.randn(batch, 3, generator=generator))


@torch.no_grad()
def naive(net: WaveNet, p: Prediction) -> tuple[Tensor, Tensor]:
    """The slow twin: the whole network anew for every sample -> codes (B, T_a), logits (B, classes, T_a)."""
    mel = p.require("mel")
    codes = torch.zeros(len(mel), mel.shape[-1] * HOP, dtype=torch.long)
    for t in range(codes.shape[1]):
        upto = net.logits(codes, mel, p.speaker)[..., t].softmax(-1).cumsum(-1)
        codes[:, t] = (upto < net.draws[t] * upto[:, -1:]).sum(-1)
    return codes, net.logits(codes, mel, p.speaker)


@pytest.mark.parametrize("config", [TINY, replace(TINY, kernel_size=3, layers=2), replace(TINY, stacks=1)])
def test_cached_sampling_equals_the_naive_one(config: WaveNetConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    net, p, seen, plain = build(config), prediction(2, 6), [], wavenet.draw

    def recording(logits: Tensor, number: Tensor) -> Tensor:
        seen.append(logits)
        return plain(logits, number)

    monkeypatch.setattr(wavenet, "draw", recording)
    wav = net(p)
    codes, logits = naive(net, p)
    torch.testing.assert_close(torch.stack(seen, -1), logits, atol=1e-5, rtol=0)
    assert torch.equal(wav[:, 0], mu_law_decode(codes, 16))
    assert len(codes.unique()) > 4


@pytest.mark.parametrize("config", [TINY, replace(TINY, kernel_size=3, layers=2), replace(TINY, stacks=1)])
def test_a_sample_depends_on_its_receptive_field_and_nothing_else(config: WaveNetConfig) -> None:
    net, p = build(config), prediction(1, 8)
    codes = torch.randint(16, (1, 8 * HOP), generator=torch.Generator().manual_seed(2))
    before: list[Tensor] = []

    def keep(_: object, __: object, x: Tensor) -> Tensor:
        before.append(x.detach().requires_grad_())
        return before[0]

    net.embed.register_forward_hook(keep)  # type: ignore[arg-type]
    logits = net.logits(codes, p.require("mel"), p.speaker)
    at = 50
    logits[..., at].sum().backward()
    assert before[0].grad is not None
    reached = before[0].grad[0].abs().sum(-1).nonzero()[:, 0].tolist()  # place i holds the sample i - 1
    assert reached == list(range(at - config.receptive_field + 1, at + 1))


def test_the_base_recipe_looks_back_a_fifth_of_a_second() -> None:
    assert WaveNetConfig().dilations == tuple(2**i for i in range(10)) * 3
    assert WaveNetConfig().receptive_field == 3 * 1023 + 1


def test_later_samples_and_this_one_do_not_change_a_logit() -> None:
    net, p = build(), prediction(1, 6)
    codes = torch.randint(16, (1, 6 * HOP), generator=torch.Generator().manual_seed(2))
    other = codes.clone()
    other[:, 20:] = (other[:, 20:] + 5) % 16
    a, b = (net.logits(c, p.require("mel"), p.speaker) for c in (codes, other))
    assert torch.equal(a[..., :21], b[..., :21])
    assert not torch.allclose(a[..., 21], b[..., 21])


def test_a_mel_frame_reaches_its_neighbours_and_no_further_back() -> None:
    net, p = build(), prediction(1, 9)
    codes = torch.randint(16, (1, 9 * HOP), generator=torch.Generator().manual_seed(2))
    louder = p.require("mel").clone()
    louder[..., 6] += 1
    a, b = (net.logits(codes, mel, p.speaker) for mel in (p.require("mel"), louder))
    changed = (a != b).any(1)[0].nonzero()[:, 0]
    assert int(changed.min()) == (6 - AHEAD) * HOP


@pytest.mark.parametrize("sizes", [[1] * 7, [3, 4], [2, 1, 4], [7]])
def test_live_says_what_whole_says(sizes: list[int]) -> None:
    net, p, state, pieces, at = build(), prediction(2, 7), None, [], 0
    for size in sizes:
        part = Prediction(mel=p.require("mel")[..., at : at + size], speaker=p.speaker)
        piece, state = net.step(part, state)
        pieces.append(piece)
        at += size
        assert sum(x.shape[-1] for x in pieces) == max(0, HOP * at - net.late)
    assert state is not None
    pieces.append(net.finish(state))
    torch.testing.assert_close(torch.cat(pieces, -1), net(p), atol=1e-6, rtol=0)


def test_a_step_leaves_the_state_it_was_given_alone() -> None:
    net, p = build(), prediction(1, 5)
    _, state = net.step(p)
    (first, _), (second, _) = net.step(p, state), net.step(p, state)
    assert torch.equal(first, second)


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_a_mel_frame_becomes_a_hop_of_sound(batch: int, frames: int) -> None:
    wav = build()(prediction(batch, frames))
    assert wav.shape == (batch, 1, HOP * frames) and wav.dtype == torch.float32
    assert wav.abs().max() <= 1


def test_each_of_a_batch_is_said_alone() -> None:
    net, both = build(), prediction(2, 4)
    mel, speaker = both.require("mel"), both.require("speaker")
    alone = [net(Prediction(mel=mel[i : i + 1], speaker=speaker[i : i + 1])) for i in range(2)]
    assert torch.equal(net(both), torch.cat(alone))


def test_mel_and_voice_are_heard() -> None:
    net, p = build(), prediction(1, 5)
    assert not torch.equal(net(p), net(replace(p, mel=-p.require("mel"))))
    assert not torch.equal(net(p), net(replace(p, speaker=-p.require("speaker"))))


def test_without_voices_no_voice_is_needed() -> None:
    net = build(replace(TINY, speaker_dim=0))
    assert net.needs == ("mel",) and build().needs == ("mel", "speaker")
    assert net(Prediction(mel=prediction(1, 2).mel)).shape == (1, 1, 2 * HOP)


def test_a_low_temperature_says_the_likeliest_sample() -> None:
    net, p = build(replace(TINY, temperature=1e-4)), prediction(1, 3)
    codes = mu_law_encode(net(p)[:, 0], 16)
    assert torch.equal(net.logits(codes, p.require("mel"), p.speaker).argmax(1), codes)


def test_classes_are_drawn_as_often_as_they_are_likely() -> None:
    shares = torch.tensor([0.1, 0.0, 0.6, 0.3])
    logits = shares.log().expand(1, 4)
    numbers = (torch.arange(1000) + 0.5) / 1000
    drawn = torch.cat([wavenet.draw(logits, number) for number in numbers])
    assert torch.bincount(drawn, minlength=4).tolist() == [100, 0, 600, 300]


def test_mu_law_is_finer_near_silence_and_gives_each_class_back() -> None:
    codes = torch.arange(256)
    wav = mu_law_decode(codes)
    assert torch.equal(mu_law_encode(wav), codes)
    assert wav[0] == -1 and wav[-1] == 1
    steps = wav.diff()
    assert (steps > 0).all() and steps[127] < 1e-3 < 1e-2 < steps[-1]
    assert mu_law_encode(torch.tensor([0.0, -7.0, 7.0])).tolist() == [128, 0, 255]
    torch.testing.assert_close(
        mu_law_decode(mu_law_encode(torch.tensor([0.5]))), torch.tensor([0.5]), atol=0.01, rtol=0
    )


def test_the_mel_is_brought_to_what_it_was_trained_on() -> None:
    net, p = build(), prediction(1, 3)
    plain = net(p)
    net.mel_mean.fill_(-5.0)
    net.mel_std.fill_(2.0)
    assert torch.equal(net(replace(p, mel=2 * p.require("mel") - 5)), plain)


def test_another_mel_and_a_wrong_length_are_refused() -> None:
    with pytest.raises(ValueError, match="the prediction's mel has 80 bands, this WaveNet's 5"):
        build()(Prediction(mel=torch.zeros(1, 80, 4), speaker=torch.zeros(1, 3)))
    with pytest.raises(ValueError, match="8 samples for each of 3 mel frames, got 23"):
        build().logits(torch.zeros(1, 23, dtype=torch.long), torch.zeros(1, 5, 3), torch.zeros(1, 3))
    with pytest.raises(ValueError, match="this route needs speaker"):
        build()(Prediction(mel=torch.zeros(1, 5, 4)))
    with pytest.raises(ValueError, match="kernel_size of 2 or more"):
        replace(TINY, kernel_size=1)


def save(folder: Path, net: WaveNet, **changes: object) -> Path:
    values = {"kind": "vocoder", "name": "wavenet", "vocoder": to_dict(net.config)} | changes
    checkpoint.save(folder, values, net.state_dict(), "# Card\n")
    return folder


def test_a_folder_speaks_as_the_network_that_was_saved(tmp_path: Path) -> None:
    net, p = build(), prediction(1, 3)
    loaded = load_vocoder(save(tmp_path / "net", net))
    assert torch.equal(loaded(p), net(p)) and not loaded.training


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no vocoder is called 'other'; known: hifigan, wavenet"):
        load_vocoder(save(tmp_path / "other", build(), name="other"))
    with pytest.raises(ValueError, match="vocoder wavenet: .*'stack'; did you mean"):
        load_vocoder(save(tmp_path / "wrong", build(), vocoder={"stack": 3}))
    with pytest.raises(checkpoint.CheckpointError, match="tensors do not fit WaveNet"):
        load_vocoder(save(tmp_path / "size", build(), vocoder=to_dict(replace(TINY, stacks=1))))


def test_every_weight_learns() -> None:
    net, p = build(), prediction(2, 4)
    codes = torch.randint(16, (2, 4 * HOP), generator=torch.Generator().manual_seed(2))
    F.cross_entropy(net.logits(codes, p.require("mel"), p.speaker), codes).backward()
    idle = [name for name, w in net.named_parameters() if w.grad is None or not w.grad.any()]
    assert idle == []
