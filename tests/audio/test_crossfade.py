"""Sound that is joined, silenced and replaced without a click (lip2speech/audio/crossfade.py)."""

import pytest
import torch

from lip2speech.audio.crossfade import TONE_LEVEL, GainEnvelope, fade_out, join_windows, mute


def test_the_join_lies_where_both_are_quiet() -> None:
    old, new = torch.ones(6400), torch.ones(12_800) * 0.5
    old[3200:3360] = new[3200:3360] = 0
    joined = torch.cat(list(join_windows([old, new], 6400)))
    assert torch.equal(joined[:3200], torch.ones(3200))
    assert not joined[3200:3360].any()
    assert torch.equal(joined[3360:], torch.full((9440,), 0.5))


def test_a_join_fades_from_one_to_the_other() -> None:
    joined = torch.cat(list(join_windows([torch.zeros(6400), torch.ones(12_800)], 6400)))
    assert len(joined) == 12_800
    assert (joined.diff() >= 0).all()
    assert joined.diff().max() < 0.01


@pytest.mark.parametrize(
    ("lengths", "overlap", "total"),
    [
        ([0], 640, 0),
        ([640], 640, 640),
        ([100], 640, 100),
        ([0, 0], 640, 0),
        ([1280, 640], 640, 1280),  # a window that ends where the last one did adds nothing
        ([1280, 300], 640, 1280),
        ([1280, 641], 640, 1281),
        ([200, 300], 100, 400),  # an overlap too short for a fade
        ([640, 640, 640], 0, 1920),
    ],
)
def test_odd_windows_are_joined_to_the_right_length(lengths: list[int], overlap: int, total: int) -> None:
    signal = torch.randn(4000, generator=torch.Generator().manual_seed(0))
    windows, start = [], 0
    for length in lengths:
        windows.append(signal[start : start + length])
        start = max(0, start + length - overlap)
    joined = torch.cat(list(join_windows(windows, overlap)))
    assert torch.equal(joined, signal[:total])


def test_where_there_is_no_face_there_is_no_voice() -> None:
    wav = mute(torch.ones(25 * 640), 0, [(0.2, 0.4), (0.8, 1.0)])
    assert not wav[3200:6400].any()
    assert not wav[12_800:].any()
    assert torch.equal(wav[:3040], torch.ones(3040))
    assert torch.equal(wav[6560:12_640], torch.ones(6080))
    assert wav.diff().abs().max() < 0.01  # 10 ms fades


def test_a_gap_is_told_from_the_beginning_of_the_video() -> None:
    wav = mute(torch.ones(50 * 640), 100, [(4.4, 4.6), (9.0, 9.5)])
    assert not wav[6400:9600].any()
    assert torch.equal(wav[9760:], torch.ones(32_000 - 9760))


def test_fades_take_10_ms_and_never_jump() -> None:
    fader, heard = GainEnvelope(), []
    for seen in (True, False, False, True):
        fader.add(seen)
    for piece in torch.ones(4 * 640).split(100):
        heard.append(fader(piece))
    gains = torch.cat(heard)
    assert gains[:640].eq(1).all() and gains[800 : 3 * 640].eq(0).all() and gains[3 * 640 + 160 :].eq(1).all()
    assert gains.diff().abs().max() < 1 / 160 + 1e-6


def test_an_end_fades_out() -> None:
    faded = fade_out(torch.ones(400))
    assert faded[:240].eq(1).all() and faded[-1] == 0
    assert len(fade_out(torch.zeros(0))) == 0


def let_through(unsure: str, seen: str, step: int = 100) -> torch.Tensor:
    """Ones through a fader: "x" is an instant that is sure, "?" one that is not, "." one without a face."""
    fader = GainEnvelope(unsure)
    for instant in seen:
        fader.add(instant != ".", instant == "x")
    return torch.cat([fader(piece) for piece in torch.ones(640 * len(seen)).split(step)])


def test_unsure_speech_is_spoken_unless_one_says_otherwise() -> None:
    assert torch.equal(let_through("speak", "x??x"), torch.ones(4 * 640))


def test_unsure_speech_becomes_silence() -> None:
    heard = let_through("silence", "x??x")
    assert heard[:640].eq(1).all() and not heard[800 : 3 * 640].any() and heard[3 * 640 + 160 :].eq(1).all()
    assert heard.diff().abs().max() < 1 / 160 + 1e-6


@pytest.mark.parametrize("step", [1, 100, 5000])
def test_unsure_speech_becomes_a_soft_tone_that_never_jumps(step: int) -> None:
    heard = let_through("tone", "x???x", step)
    tone = heard[800 : 4 * 640]
    assert tone.abs().max() == pytest.approx(TONE_LEVEL, rel=0.01)
    assert abs(tone.mean()) < 0.1 * TONE_LEVEL
    assert heard.diff().abs().max() < 1 / 160 + 0.003
    torch.testing.assert_close(heard, let_through("tone", "x???x", 640))


def test_where_nobody_was_seen_there_is_no_tone() -> None:
    heard = let_through("tone", "x?..?x")
    assert not heard[2 * 640 + 160 : 4 * 640].any() and heard[4 * 640 : 5 * 640].any()


def test_after_a_rest_sound_comes_in_from_silence() -> None:
    fader = GainEnvelope()
    fader.rest()
    fader.add(True)
    heard = fader(torch.ones(640))
    assert heard[0] < 0.01 and heard[160:].eq(1).all()
