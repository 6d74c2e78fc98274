"""Phonemes to mouth movements: closure, rounding, teeth and tongue at the right time."""

import numpy as np
import pytest

from lip2speech.data.synthetic.espeak import Phoneme
from lip2speech.data.synthetic.render.mouth import (
    JAW,
    OPENING,
    ROUNDING,
    SPREAD,
    TIP,
    TONGUE,
    TUCK,
    MouthStyle,
    lip_curves,
)
from lip2speech.data.synthetic.visemes import DIPHTHONGS, TARGETS, VISEME_ALIASES, mouth_track

FPS = 25


def track(*names: str, each: float = 0.16, lead: float = 0.4) -> np.ndarray:
    """The mouth track of a sequence of phonemes: (25, 7)."""
    phonemes = [Phoneme(name, lead + i * each, lead + (i + 1) * each) for i, name in enumerate(names)]
    return mouth_track(phonemes, 25)


def middle(names: tuple[str, ...], index: int, each: float = 0.16) -> np.ndarray:
    return track(*names, each=each)[round((0.4 + (index + 0.5) * each) * FPS - 0.25)]


@pytest.fixture
def style() -> MouthStyle:
    return MouthStyle.sample(np.random.default_rng(0), y=1.1, skin=np.array([200.0, 150.0, 120.0]))


def test_the_mouth_is_at_rest_in_silence() -> None:
    mouth = track("a")
    assert np.abs(mouth[:5]).max() < 0.02
    assert np.abs(mouth[-5:]).max() < 0.02
    assert mouth.shape == (25, 7)
    assert mouth.dtype == np.float32


def test_without_phonemes_the_mouth_is_at_rest() -> None:
    assert np.abs(mouth_track([], 5)).max() < 1e-3


def test_lips_close_before_the_burst() -> None:
    opening = track("a", "b", "a")[:, OPENING]
    burst = 0.4 + 0.16
    closed = int(np.argmin(opening[10:18])) + 10
    assert opening[closed] < 0.0
    assert burst - 0.09 <= (closed + 0.25) / FPS <= burst + 0.015
    assert opening[round((burst + 0.1) * FPS)] > 0.5


@pytest.mark.parametrize("name", ["b", "p", "m"])
@pytest.mark.parametrize("vowel", ["a", "i", "u", "oU"])
def test_bilabials_close_the_lips_in_every_context(name: str, vowel: str) -> None:
    assert track(vowel, name, vowel)[11:18, OPENING].min() < 0.02


def test_open_vowels_open_and_drop_the_jaw() -> None:
    a, i = middle(("a",), 0), middle(("i",), 0)
    assert a[OPENING] > 0.7
    assert a[JAW] > 0.7
    assert a[OPENING] > 2 * i[OPENING]


def test_spread_and_rounded_vowels_differ_in_width() -> None:
    i, u = middle(("i",), 0), middle(("u",), 0)
    assert i[SPREAD] > 0.6
    assert u[SPREAD] < -0.6
    assert u[ROUNDING] > 0.6 > 0.1 > i[ROUNDING]


def test_rounding_starts_before_its_vowel() -> None:
    rounding = track("t", "u", each=0.2)[:, ROUNDING]
    assert rounding[round((0.4 + 0.2 - 0.06) * FPS)] > 0.15


def test_a_consonant_has_the_width_of_its_vowel() -> None:
    assert middle(("u", "t", "u"), 1, 0.1)[SPREAD] < -0.3 < 0.3 < middle(("i", "t", "i"), 1, 0.1)[SPREAD]


def test_dentals_and_labiodentals_move_tongue_and_lip() -> None:
    assert middle(("a", "f", "a"), 1)[TUCK] > 0.7
    assert middle(("a", "T", "a"), 1)[TIP] > 0.7
    assert middle(("a", "l", "a"), 1)[TONGUE] > 0.6
    assert middle(("a", "s", "a"), 1)[JAW] < 0.4


def test_every_phoneme_name_has_a_viseme() -> None:
    assert set(VISEME_ALIASES.values()) | {half for pair in DIPHTHONGS.values() for half in pair} <= set(
        TARGETS
    )
    assert all(len(t) == len(w) == 7 for t, w in TARGETS.values())


def test_an_unknown_phoneme_is_an_error() -> None:
    with pytest.raises(ValueError, match="no viseme for the phoneme 'qq'"):
        track("qq")


def test_curves_never_cross(style: MouthStyle) -> None:
    rng, x = np.random.default_rng(3), np.linspace(-1.4, 1.4, 91)
    for pose in rng.uniform([-0.4, -1, 0, 0, 0, 0, 0], 1.0, (100, 7)):
        curves = lip_curves(style, pose, x)
        assert (curves.upper_outer <= curves.upper_inner + 1e-9).all()
        assert (curves.upper_inner <= curves.lower_inner + 1e-9).all()
        assert (curves.lower_inner <= curves.lower_outer + 1e-9).all()


def test_the_aperture_follows_the_opening(style: MouthStyle) -> None:
    x, poses = np.linspace(-1, 1, 31), np.zeros((5, 7))
    poses[:, OPENING] = [-0.3, 0.2, 0.4, 0.7, 1.0]
    gaps = [lip_curves(style, pose, x).aperture for pose in poses]
    assert gaps[0] == 0
    assert all(np.diff(gaps) > 0.05)
    curves = lip_curves(style, poses[-1], x)
    assert (curves.lower_inner - curves.upper_inner).max() == pytest.approx(curves.aperture, rel=1e-6)
