"""WaveNet (lip2speech/vocoders/wavenet.py): cached generation against the naive one."""

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
from lip2speech.vocoders import load_vocoder, wavenet
from lip2speech.vocoders.wavenet import LOOKAHEAD, WaveNet, WaveNetConfig, mu_law_decode, mu_law_encode

HOP = 8
MEL = MelConfig(sample_rate=800, n_fft=32, win_length=20, hop_length=HOP, n_mels=5, f_max=400.0)
TINY = WaveNetConfig(mel=MEL, speaker_dim=3, stacks=2, layers=3, channels=6, skip=7, condition=5, classes=16)


def build(config: WaveNetConfig = TINY) -> WaveNet:
    """Random weights, large enough that every path affects the logits."""
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
    """Slow reference: the whole network for every sample -> codes (B, T_a), logits (B, classes, T_a)."""
    mel = p.require("mel")
    codes = torch.zeros(len(mel), mel.shape[-1] * HOP, dtype=torch.long)
    for t in range(codes.shape[1]):
        cdf = net.logits(codes, mel, p.speaker)[..., t].softmax(-1).cumsum(-1)
        codes[:, t] = (cdf < net.noise_table[t] * cdf[:, -1:]).sum(-1)
    return codes, net.logits(codes, mel, p.speaker)


@pytest.mark.parametrize("config", [TINY, replace(TINY, kernel_size=3, layers=2), replace(TINY, stacks=1)])
def test_cached_generation_matches_the_naive_one(
    config: WaveNetConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, p, logits_seen, sample_class = build(config), prediction(2, 6), [], wavenet.sample_class

    def recording(logits: Tensor, uniform: Tensor) -> Tensor:
        logits_seen.append(logits)
        return sample_class(logits, uniform)

    monkeypatch.setattr(wavenet, "sample_class", recording)
    wav = net(p)
    codes, logits = naive(net, p)
    torch.testing.assert_close(torch.stack(logits_seen, -1), logits, atol=1e-5, rtol=0)
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

    net.embedding.register_forward_hook(keep)  # type: ignore[arg-type]
    logits = net.logits(codes, p.require("mel"), p.speaker)
    at = 50
    logits[..., at].sum().backward()
    assert before[0].grad is not None
    reached = before[0].grad[0].abs().sum(-1).nonzero()[:, 0].tolist()  # position i holds sample i - 1
    assert reached == list(range(at - config.receptive_field + 1, at + 1))


def test_the_default_receptive_field_is_a_fifth_of_a_second() -> None:
    assert WaveNetConfig().dilations == tuple(2**i for i in range(10)) * 3
    assert WaveNetConfig().receptive_field == 3 * 1023 + 1


def test_a_logit_depends_on_earlier_samples_only() -> None:
    net, p = build(), prediction(1, 6)
    codes = torch.randint(16, (1, 6 * HOP), generator=torch.Generator().manual_seed(2))
    other = codes.clone()
    other[:, 20:] = (other[:, 20:] + 5) % 16
    a, b = (net.logits(c, p.require("mel"), p.speaker) for c in (codes, other))
    assert torch.equal(a[..., :21], b[..., :21])
    assert not torch.allclose(a[..., 21], b[..., 21])


def test_the_conditioning_looks_ahead_by_two_mel_frames_only() -> None:
    net, p = build(), prediction(1, 9)
    codes = torch.randint(16, (1, 9 * HOP), generator=torch.Generator().manual_seed(2))
    louder = p.require("mel").clone()
    louder[..., 6] += 1
    a, b = (net.logits(codes, mel, p.speaker) for mel in (p.require("mel"), louder))
    changed = (a != b).any(1)[0].nonzero()[:, 0]
    assert int(changed.min()) == (6 - LOOKAHEAD) * HOP


@pytest.mark.parametrize("sizes", [[1] * 7, [3, 4], [2, 1, 4], [7]])
def test_streaming_equals_one_pass(sizes: list[int]) -> None:
    net, p, state, chunks, at = build(), prediction(2, 7), None, [], 0
    for size in sizes:
        part = Prediction(mel=p.require("mel")[..., at : at + size], speaker=p.speaker)
        chunk, state = net.step(part, state)
        chunks.append(chunk)
        at += size
        assert sum(x.shape[-1] for x in chunks) == max(0, HOP * at - net.latency)
    assert state is not None
    chunks.append(net.finish(state))
    torch.testing.assert_close(torch.cat(chunks, -1), net(p), atol=1e-6, rtol=0)


def test_a_step_does_not_modify_its_input_state() -> None:
    net, p = build(), prediction(1, 5)
    _, state = net.step(p)
    (first, _), (second, _) = net.step(p, state), net.step(p, state)
    assert torch.equal(first, second)


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_a_mel_frame_becomes_one_hop_of_audio(batch: int, frames: int) -> None:
    wav = build()(prediction(batch, frames))
    assert wav.shape == (batch, 1, HOP * frames)
    assert wav.dtype == torch.float32
    assert wav.abs().max() <= 1


def test_items_of_a_batch_are_independent() -> None:
    net, both = build(), prediction(2, 4)
    mel, speaker = both.require("mel"), both.require("speaker")
    alone = [net(Prediction(mel=mel[i : i + 1], speaker=speaker[i : i + 1])) for i in range(2)]
    assert torch.equal(net(both), torch.cat(alone))


def test_the_output_depends_on_mel_and_speaker() -> None:
    net, p = build(), prediction(1, 5)
    assert not torch.equal(net(p), net(replace(p, mel=-p.require("mel"))))
    assert not torch.equal(net(p), net(replace(p, speaker=-p.require("speaker"))))


def test_a_speaker_dim_of_0_needs_no_speaker_embedding() -> None:
    net = build(replace(TINY, speaker_dim=0))
    assert net.needs == ("mel",)
    assert build().needs == ("mel", "speaker")
    assert net(Prediction(mel=prediction(1, 2).mel)).shape == (1, 1, 2 * HOP)


def test_a_low_temperature_picks_the_argmax() -> None:
    net, p = build(replace(TINY, temperature=1e-4)), prediction(1, 3)
    codes = mu_law_encode(net(p)[:, 0], 16)
    assert torch.equal(net.logits(codes, p.require("mel"), p.speaker).argmax(1), codes)


def test_classes_are_sampled_by_their_probability() -> None:
    probs = torch.tensor([0.1, 0.0, 0.6, 0.3])
    logits = probs.log().expand(1, 4)
    uniforms = (torch.arange(1000) + 0.5) / 1000
    drawn = torch.cat([wavenet.sample_class(logits, u) for u in uniforms])
    assert torch.bincount(drawn, minlength=4).tolist() == [100, 0, 600, 300]


def test_mu_law_is_finer_near_silence_and_round_trips_every_class() -> None:
    codes = torch.arange(256)
    wav = mu_law_decode(codes)
    assert torch.equal(mu_law_encode(wav), codes)
    assert wav[0] == -1
    assert wav[-1] == 1
    steps = wav.diff()
    assert (steps > 0).all()
    assert steps[127] < 1e-3 < 1e-2 < steps[-1]
    assert mu_law_encode(torch.tensor([0.0, -7.0, 7.0])).tolist() == [128, 0, 255]
    torch.testing.assert_close(
        mu_law_decode(mu_law_encode(torch.tensor([0.5]))), torch.tensor([0.5]), atol=0.01, rtol=0
    )


def test_the_mel_is_normalized_by_the_training_statistics() -> None:
    net, p = build(), prediction(1, 3)
    expected = net(p)
    net.mel_mean.fill_(-5.0)
    net.mel_std.fill_(2.0)
    assert torch.equal(net(replace(p, mel=2 * p.require("mel") - 5)), expected)


def test_mismatched_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match="the prediction's mel has 80 bands, this WaveNet's 5"):
        build()(Prediction(mel=torch.zeros(1, 80, 4), speaker=torch.zeros(1, 3)))
    with pytest.raises(ValueError, match="8 samples for each of 3 mel frames, got 23"):
        build().logits(torch.zeros(1, 23, dtype=torch.long), torch.zeros(1, 5, 3), torch.zeros(1, 3))
    with pytest.raises(ValueError, match="this vocoder needs speaker"):
        build()(Prediction(mel=torch.zeros(1, 5, 4)))
    with pytest.raises(ValueError, match="kernel_size must be 2 or more"):
        replace(TINY, kernel_size=1)


def save(folder: Path, net: WaveNet, **changes: object) -> Path:
    values = {"kind": "vocoder", "name": "wavenet", "vocoder": to_dict(net.config)} | changes
    checkpoint.save(folder, values, net.state_dict(), "# Card\n")
    return folder


def test_a_saved_vocoder_gives_the_same_audio(tmp_path: Path) -> None:
    net, p = build(), prediction(1, 3)
    loaded = load_vocoder(save(tmp_path / "net", net))
    assert torch.equal(loaded(p), net(p))
    assert not loaded.training


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no vocoder is called 'other'; known: hifigan, wavenet"):
        load_vocoder(save(tmp_path / "other", build(), name="other"))
    with pytest.raises(ValueError, match="vocoder wavenet: .*'stack'; did you mean"):
        load_vocoder(save(tmp_path / "wrong", build(), vocoder={"stack": 3}))
    with pytest.raises(checkpoint.CheckpointError, match="tensors do not fit WaveNet"):
        load_vocoder(save(tmp_path / "size", build(), vocoder=to_dict(replace(TINY, stacks=1))))


def test_every_parameter_has_a_gradient() -> None:
    net, p = build(), prediction(2, 4)
    codes = torch.randint(16, (2, 4 * HOP), generator=torch.Generator().manual_seed(2))
    F.cross_entropy(net.logits(codes, p.require("mel"), p.speaker), codes).backward()
    idle = [name for name, w in net.named_parameters() if w.grad is None or not w.grad.any()]
    assert idle == []
