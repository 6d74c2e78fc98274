"""Convolutional heads: features to mel, units, codes and pitch (lip2speech/models/heads/)."""

from dataclasses import fields, replace
from typing import Literal

import pytest
import torch
from torch import Tensor

from lip2speech.models.heads.conv import Heads, HeadsConfig
from lip2speech.models.prediction import Prediction

TINY = HeadsConfig(hidden_dim=12, n_blocks=2, n_units=7, n_q=3, codebook_size=11, speaker_dim=5, pitch_dim=10)
CHANNELS = 6
Pattern = Literal["parallel", "delay"]


def build(config: HeadsConfig = TINY) -> Heads:
    torch.manual_seed(0)
    return Heads(CHANNELS, config).eval()


def features(batch: int, frames: int) -> Tensor:
    return torch.randn(batch, frames, CHANNELS, generator=torch.Generator().manual_seed(1))


def speaker(batch: int) -> Tensor:
    return torch.randn(batch, TINY.speaker_dim, generator=torch.Generator().manual_seed(2))


def codes(batch: int, steps: int) -> Tensor:
    return torch.randint(11, (batch, 3, steps), generator=torch.Generator().manual_seed(3))


def over_time(prediction: Prediction) -> dict[str, Tensor]:
    """The fields that are not None and have a time axis."""
    values = {f.name: getattr(prediction, f.name) for f in fields(prediction) if f.name != "speaker"}
    return {name: value for name, value in values.items() if value is not None}


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_every_field_has_its_frame_rate(batch: int, frames: int) -> None:
    found = build()(features(batch, frames), speaker(batch))
    assert {name: tuple(value.shape) for name, value in over_time(found).items()} == {
        "mel": (batch, 80, 4 * frames),
        "unit_logits": (batch, 7, 2 * frames),
        "code_logits": (batch, 3, 11, 2 * frames),
        "independent_code_logits": (batch, 3, 11, 2 * frames),
        "codes": (batch, 3, 2 * frames),
        "pitch": (batch, 2, 4 * frames),
    }
    assert found.mel is not None
    assert found.mel.dtype == torch.float32
    assert found.codes is not None
    assert found.codes.dtype == torch.int64


def test_a_codec_at_75_hz_has_three_steps_a_frame() -> None:
    found = build(replace(TINY, code_frame_rate=75))(features(2, 5), speaker(2))
    assert found.require("codes").shape == (2, 3, 15)


@pytest.mark.parametrize("pattern", ["parallel", "delay"])
def test_a_padded_batch_equals_single_clips(pattern: Pattern) -> None:
    heads = build(replace(TINY, codebook_pattern=pattern))
    x, embedding, lengths = features(3, 7), speaker(3), [7, 4, 1]
    padding = torch.arange(7)[None] >= torch.tensor(lengths)[:, None]
    batch = over_time(heads(x, embedding, padding))
    for i, length in enumerate(lengths):
        for name, single in over_time(heads(x[i : i + 1, :length], embedding[i : i + 1])).items():
            part = batch[name][i : i + 1, ..., : single.shape[-1]]
            torch.testing.assert_close(part, single, rtol=1e-5, atol=1e-5, msg=f"{name} of {length} frames")


@pytest.mark.parametrize("pattern", ["parallel", "delay"])
def test_teacher_forcing_with_greedy_codes_gives_the_same_logits(pattern: Pattern) -> None:
    heads, x = build(replace(TINY, codebook_pattern=pattern)), features(2, 6)
    greedy = heads(x, speaker(2))
    forced = heads(x, speaker(2), codes=greedy.codes)
    torch.testing.assert_close(
        forced.code_logits, greedy.code_logits, rtol=0, atol=1e-6 if pattern == "delay" else 0
    )
    assert torch.equal(forced.codes, greedy.codes)


@pytest.mark.parametrize("pattern", ["parallel", "delay"])
def test_greedy_codes_are_the_argmax_of_their_logits(pattern: Pattern) -> None:
    found = build(replace(TINY, codebook_pattern=pattern))(features(2, 6), speaker(2))
    assert torch.equal(found.require("codes"), found.require("code_logits").argmax(2))


@pytest.mark.parametrize("pattern", ["parallel", "delay"])
def test_no_code_is_predicted_outside_its_codebook(pattern: Pattern) -> None:
    heads = build(replace(TINY, codebook_size=(2, 11, 3), codebook_pattern=pattern))
    padding = torch.tensor([[False] * 6, [False] * 3 + [True] * 3])
    found = heads(features(2, 6), speaker(2), padding)
    for name in ("code_logits", "independent_code_logits"):
        logits = found.require(name)
        assert logits.shape == (2, 3, 11, 12)
        for codebook, size in enumerate((2, 11, 3)):
            assert logits[:, codebook, :size].isfinite().all()
            assert (logits[:, codebook, size:] == -torch.inf).all()
    for codebook, size in zip(found.require("codes").unbind(1), (2, 11, 3), strict=True):
        assert codebook.min() >= 0
        assert codebook.max() < size
    forced = heads(features(2, 6), speaker(2), padding, codes=found.codes)
    torch.testing.assert_close(forced.code_logits, found.code_logits, rtol=0, atol=1e-6)


@pytest.mark.parametrize("pattern", ["parallel", "delay"])
def test_one_codebook_size_equals_the_same_size_for_each(pattern: Pattern) -> None:
    one, each = (
        build(replace(TINY, codebook_size=size, codebook_pattern=pattern)) for size in (11, (11, 11, 11))
    )
    each.load_state_dict(one.state_dict())
    a, b = (over_time(heads(features(2, 3), speaker(2))) for heads in (one, each))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_wrong_number_of_codebook_sizes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one for each of n_q 3 codebooks, got \(11, 5\)"):
        replace(TINY, codebook_size=(11, 5))


def test_a_codebook_is_conditioned_on_previous_codebooks_only() -> None:
    heads, x, first = build(), features(1, 4), codes(1, 8)
    second = first.clone()
    second[:, 1] = (second[:, 1] + 1) % 11
    a, b = (heads(x, speaker(1), codes=c).require("code_logits") for c in (first, second))
    assert torch.equal(a[:, :2], b[:, :2])
    assert not torch.allclose(a[:, 2], b[:, 2])


@pytest.mark.parametrize(("codebook", "time"), [(0, 3), (1, 2), (2, 5)])
def test_a_code_of_the_delay_pattern_is_conditioned_on_earlier_columns_only(codebook: int, time: int) -> None:
    heads, x, first = build(replace(TINY, codebook_pattern="delay")), features(1, 4), codes(1, 8)
    second = first.clone()
    second[:, codebook, time] = (second[:, codebook, time] + 1) % 11
    a, b = (heads(x, speaker(1), codes=c).require("code_logits") for c in (first, second))
    changed = {(int(k), int(t)) for k, t in (a != b).any(2)[0].nonzero()}
    assert changed == {(k, t) for k in range(3) for t in range(8) if k + t > codebook + time}


def test_padded_teacher_codes_are_ignored() -> None:
    heads, x, first = build(replace(TINY, codebook_pattern="delay")), features(1, 4), codes(1, 8)
    padding = torch.tensor([[False, False, False, True]])
    second = first.clone()
    second[..., 6:] = 0
    a, b = (heads(x, speaker(1), padding, codes=c).require("code_logits") for c in (first, second))
    assert torch.equal(a[..., :6], b[..., :6])


def test_the_delay_pattern_is_refused_for_causal_heads() -> None:
    with pytest.raises(ValueError, match="codebook_pattern delay needs 2 code steps of look-ahead"):
        replace(TINY, codebook_pattern="delay", causal=True)


def test_teacher_codes_may_be_computed_from_the_predicted_mel() -> None:
    heads, x, given = build(), features(2, 4), codes(2, 8)
    mels: list[Tensor] = []

    def teacher(mel: Tensor) -> Tensor:
        mels.append(mel)
        return given

    found = heads(x, speaker(2), codes=teacher)
    assert torch.equal(mels[0], found.mel)
    assert torch.equal(found.codes, given)


@pytest.mark.parametrize(
    ("size", "missing"),
    [
        ("n_mels", {"mel"}),
        ("n_units", {"unit_logits"}),
        ("n_q", {"codes", "code_logits", "independent_code_logits"}),
        ("pitch_dim", {"pitch"}),
    ],
)
def test_a_head_of_size_0_is_left_out(size: str, missing: set[str]) -> None:
    config = replace(TINY, **{size: 0})
    found = over_time(build(config)(features(1, 2), speaker(1)))
    every = {"mel", "unit_logits", "pitch", "codes", "code_logits", "independent_code_logits"}
    assert set(found) == every - missing
    assert config.predicts(every - missing)
    assert not any(config.predicts([name]) for name in missing)
    assert config.predicts(["speaker"])


def test_the_mel_is_denormalized_with_the_stored_mean_and_std() -> None:
    heads = build()
    plain = heads(features(1, 3), speaker(1)).require("mel")
    heads.mel_mean.fill_(-5.0)
    heads.mel_std.fill_(2.0)
    scaled = heads(features(1, 3), speaker(1)).require("mel")
    torch.testing.assert_close(scaled, 2 * plain - 5)


def test_another_speaker_gives_another_mel() -> None:
    heads, x = build(), features(1, 3)
    assert not torch.allclose(heads(x, speaker(1)).mel, heads(x, -speaker(1)).mel)


def test_the_initial_pitch_follows_the_median_f0_of_the_speaker() -> None:
    heads, x = build(), features(1, 3)
    with torch.no_grad():
        heads.pitch.in_proj.linear.weight.zero_()  # leaves the base F0 only
        higher = speaker(1)
        higher[:, -2] += 1.0
        moved = heads(x, higher).require("pitch")[:, 0] - heads(x, speaker(1)).require("pitch")[:, 0]
    torch.testing.assert_close(moved, torch.ones(1, 12))


def test_a_code_rate_that_is_no_multiple_of_the_video_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="whole multiple of 25 Hz, got 60 Hz"):
        Heads(CHANNELS, replace(TINY, code_frame_rate=60))


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="kernel_size must be odd.*got 4"):
        Heads(CHANNELS, replace(TINY, kernel_size=4))


@torch.no_grad()
@pytest.mark.parametrize("size", [1, 2, 7])
def test_steps_of_causal_heads_equal_one_pass(size: int) -> None:
    heads, x, state = build(replace(TINY, causal=True)), features(2, 7), None
    chunks: dict[str, list[Tensor]] = {}
    for chunk in x.split(size, 1):
        prediction, state = heads.step(chunk, speaker(2), state)
        for name, value in over_time(prediction).items():
            chunks.setdefault(name, []).append(value)
    for name, whole in over_time(heads(x, speaker(2))).items():
        torch.testing.assert_close(torch.cat(chunks[name], -1), whole, rtol=1e-5, atol=1e-5)


def test_heads_that_are_not_causal_do_not_step() -> None:
    with pytest.raises(ValueError, match="causal"):
        build().step(features(1, 1), speaker(1))
