"""Features -> mel, units and codes (lip2speech/models/heads/conv.py)."""

from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from lip2speech.models.heads.conv import Heads, HeadsConfig
from lip2speech.models.prediction import Prediction

TINY = HeadsConfig(hidden_dim=12, n_blocks=2, n_units=7, n_q=3, codebook_size=11, speaker_dim=5, pitch_dim=10)
CHANNELS = 6


def build(config: HeadsConfig = TINY) -> Heads:
    torch.manual_seed(0)
    return Heads(CHANNELS, config).eval()


def features(batch: int, frames: int) -> Tensor:
    return torch.randn(batch, frames, CHANNELS, generator=torch.Generator().manual_seed(1))


def voice(batch: int) -> Tensor:
    return torch.randn(batch, TINY.speaker_dim, generator=torch.Generator().manual_seed(2))


def codes(batch: int, steps: int) -> Tensor:
    return torch.randint(11, (batch, 3, steps), generator=torch.Generator().manual_seed(3))


def held(prediction: Prediction) -> dict[str, Tensor]:
    """The fields that are there and have a time axis."""
    values = {f.name: getattr(prediction, f.name) for f in fields(prediction) if f.name != "speaker"}
    return {name: value for name, value in values.items() if value is not None}


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_every_field_keeps_its_clock(batch: int, frames: int) -> None:
    found = build()(features(batch, frames), voice(batch))
    assert {name: tuple(value.shape) for name, value in held(found).items()} == {
        "mel": (batch, 80, 4 * frames),
        "unit_logits": (batch, 7, 2 * frames),
        "code_logits": (batch, 3, 11, 2 * frames),
        "independent_code_logits": (batch, 3, 11, 2 * frames),
        "codes": (batch, 3, 2 * frames),
        "pitch": (batch, 2, 4 * frames),
    }
    assert found.mel is not None and found.mel.dtype == torch.float32
    assert found.codes is not None and found.codes.dtype == torch.int64


def test_a_codec_at_75_hz_has_three_steps_a_frame() -> None:
    found = build(replace(TINY, code_frame_rate=75))(features(2, 5), voice(2))
    assert found.require("codes").shape == (2, 3, 15)


@pytest.mark.parametrize("delayed", [False, True])
def test_a_padded_batch_equals_single_clips(delayed: bool) -> None:
    heads = build(replace(TINY, delayed=delayed))
    x, speaker, lengths = features(3, 7), voice(3), [7, 4, 1]
    padding = torch.arange(7)[None] >= torch.tensor(lengths)[:, None]
    batch = held(heads(x, speaker, padding))
    for i, length in enumerate(lengths):
        for name, single in held(heads(x[i : i + 1, :length], speaker[i : i + 1])).items():
            part = batch[name][i : i + 1, ..., : single.shape[-1]]
            torch.testing.assert_close(part, single, rtol=1e-5, atol=1e-5, msg=f"{name} of {length} frames")


@pytest.mark.parametrize("delayed", [False, True])
def test_greedy_codes_as_the_teacher_give_the_same_logits(delayed: bool) -> None:
    heads, x = build(replace(TINY, delayed=delayed)), features(2, 6)
    greedy = heads(x, voice(2))
    taught = heads(x, voice(2), codes=greedy.codes)
    torch.testing.assert_close(taught.code_logits, greedy.code_logits, rtol=0, atol=1e-6 if delayed else 0)
    assert torch.equal(taught.codes, greedy.codes)


@pytest.mark.parametrize("delayed", [False, True])
def test_greedy_codes_are_the_best_of_each_book(delayed: bool) -> None:
    found = build(replace(TINY, delayed=delayed))(features(2, 6), voice(2))
    assert torch.equal(found.require("codes"), found.require("code_logits").argmax(2))


@pytest.mark.parametrize("delayed", [False, True])
def test_no_code_is_predicted_that_its_book_lacks(delayed: bool) -> None:
    heads = build(replace(TINY, codebook_size=(2, 11, 3), delayed=delayed))
    padding = torch.tensor([[False] * 6, [False] * 3 + [True] * 3])
    found = heads(features(2, 6), voice(2), padding)
    for name in ("code_logits", "independent_code_logits"):
        logits = found.require(name)
        assert logits.shape == (2, 3, 11, 12)
        for book, size in enumerate((2, 11, 3)):
            assert logits[:, book, :size].isfinite().all()
            assert (logits[:, book, size:] == -torch.inf).all()
    for book, size in zip(found.require("codes").unbind(1), (2, 11, 3), strict=True):
        assert book.min() >= 0 and book.max() < size
    taught = heads(features(2, 6), voice(2), padding, codes=found.codes)
    torch.testing.assert_close(taught.code_logits, found.code_logits, rtol=0, atol=1e-6)


@pytest.mark.parametrize("delayed", [False, True])
def test_books_of_one_size_may_be_told_one_by_one(delayed: bool) -> None:
    one, each = (build(replace(TINY, codebook_size=size, delayed=delayed)) for size in (11, (11, 11, 11)))
    each.load_state_dict(one.state_dict())
    a, b = (held(heads(features(2, 3), voice(2))) for heads in (one, each))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_sizes_that_are_not_one_for_each_book_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one for each of n_q 3 books, got \(11, 5\)"):
        replace(TINY, codebook_size=(11, 5))


def test_a_book_is_given_the_books_before_it_only() -> None:
    heads, x, first = build(), features(1, 4), codes(1, 8)
    second = first.clone()
    second[:, 1] = (second[:, 1] + 1) % 11
    a, b = (heads(x, voice(1), codes=c).require("code_logits") for c in (first, second))
    assert torch.equal(a[:, :2], b[:, :2])
    assert not torch.allclose(a[:, 2], b[:, 2])


@pytest.mark.parametrize(("book", "time"), [(0, 3), (1, 2), (2, 5)])
def test_a_delayed_code_is_given_the_columns_before_it_only(book: int, time: int) -> None:
    heads, x, first = build(replace(TINY, delayed=True)), features(1, 4), codes(1, 8)
    second = first.clone()
    second[:, book, time] = (second[:, book, time] + 1) % 11
    a, b = (heads(x, voice(1), codes=c).require("code_logits") for c in (first, second))
    changed = {(int(k), int(t)) for k, t in (a != b).any(2)[0].nonzero()}
    assert changed == {(k, t) for k in range(3) for t in range(8) if k + t > book + time}


def test_padded_codes_of_the_teacher_are_not_read() -> None:
    heads, x, first = build(replace(TINY, delayed=True)), features(1, 4), codes(1, 8)
    padding = torch.tensor([[False, False, False, True]])
    second = first.clone()
    second[..., 6:] = 0
    a, b = (heads(x, voice(1), padding, codes=c).require("code_logits") for c in (first, second))
    assert torch.equal(a[..., :6], b[..., :6])


def test_delayed_heads_cannot_be_causal() -> None:
    with pytest.raises(ValueError, match="delayed codes look 2 code steps ahead"):
        replace(TINY, delayed=True, causal=True)


def test_the_teacher_may_look_at_the_predicted_mel() -> None:
    heads, x, given = build(), features(2, 4), codes(2, 8)
    seen: list[Tensor] = []

    def teacher(mel: Tensor) -> Tensor:
        seen.append(mel)
        return given

    found = heads(x, voice(2), codes=teacher)
    assert torch.equal(seen[0], found.mel)
    assert torch.equal(found.codes, given)


@pytest.mark.parametrize(
    ("size", "gone"),
    [
        ("n_mels", {"mel"}),
        ("n_units", {"unit_logits"}),
        ("n_q", {"codes", "code_logits", "independent_code_logits"}),
        ("pitch", {"pitch"}),
    ],
)
def test_a_head_of_size_0_is_left_out(size: str, gone: set[str]) -> None:
    config = replace(TINY, **{size: 0})
    found = held(build(config)(features(1, 2), voice(1)))
    every = {"mel", "unit_logits", "pitch", "codes", "code_logits", "independent_code_logits"}
    assert set(found) == every - gone
    assert config.predicts(every - gone)
    assert not any(config.predicts([name]) for name in gone)
    assert config.predicts(["speaker"])


def test_the_mel_is_brought_to_the_speech_it_was_trained_on() -> None:
    heads = build()
    plain = heads(features(1, 3), voice(1)).require("mel")
    heads.mel_mean.fill_(-5.0)
    heads.mel_std.fill_(2.0)
    scaled = heads(features(1, 3), voice(1)).require("mel")
    torch.testing.assert_close(scaled, 2 * plain - 5)


def test_another_voice_gives_another_mel() -> None:
    heads, x = build(), features(1, 3)
    assert not torch.allclose(heads(x, voice(1)).mel, heads(x, -voice(1)).mel)


def test_the_pitch_of_a_new_head_moves_with_the_median_of_the_voice() -> None:
    heads, x = build(), features(1, 3)
    with torch.no_grad():
        heads.pitch.inp.linear.weight.zero_()  # so that nothing but the register is left
        higher = voice(1)
        higher[:, -2] += 1.0
        moved = heads(x, higher).require("pitch")[:, 0] - heads(x, voice(1)).require("pitch")[:, 0]
    torch.testing.assert_close(moved, torch.ones(1, 12))


def test_a_clock_that_does_not_fit_the_video_is_refused() -> None:
    with pytest.raises(ValueError, match="whole multiple of 25 Hz, got 60 Hz"):
        Heads(CHANNELS, replace(TINY, code_frame_rate=60))


def test_a_kernel_without_a_middle_is_refused() -> None:
    with pytest.raises(ValueError, match="kernel_size must be odd.*got 4"):
        Heads(CHANNELS, replace(TINY, kernel_size=4))


@torch.no_grad()
@pytest.mark.parametrize("size", [1, 2, 7])
def test_causal_heads_run_step_by_step(size: int) -> None:
    heads, x, state = build(replace(TINY, causal=True)), features(2, 7), None
    pieces: dict[str, list[Tensor]] = {}
    for part in x.split(size, 1):
        prediction, state = heads.step(part, voice(2), state)
        for name, value in held(prediction).items():
            pieces.setdefault(name, []).append(value)
    for name, whole in held(heads(x, voice(2))).items():
        torch.testing.assert_close(torch.cat(pieces[name], -1), whole, rtol=1e-5, atol=1e-5)


def test_heads_that_see_later_steps_do_not_step() -> None:
    with pytest.raises(ValueError, match="causal"):
        build().step(features(1, 1), voice(1))
