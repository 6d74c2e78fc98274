"""Sentences and voices of the synthetic corpus: grammar, splits, audio, phoneme times."""

import hashlib
import math
import re
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch

from lip2speech.audio.pitch import pitch_quantiles
from lip2speech.constants import SAMPLE_RATE, SAMPLES_PER_FRAME
from lip2speech.data.synthetic import synthesize_audio
from lip2speech.data.synthetic.espeak import MissingExtraError, load_espeak
from lip2speech.data.synthetic.sentences import (
    SLOTS,
    is_sentence,
    sample_sentence,
    sentence_split,
    to_espeak_text,
)
from lip2speech.data.synthetic.voices import (
    SynthesisVoice,
    random_stream,
    synthesis_voices,
    synthesize,
    synthesize_utterance,
)

# what each word must sound like, in espeak-ng's names without stress; `_` is a pause inside the sentence
SOUNDS = {
    "bin": "b I n", "lay": "l eI", "place": "p l eI s", "set": "s E t#?",
    "blue": "b l u", "green": "g r i n", "red": "r E d", "white": "w aI t#?",
    "at": "a t#?", "by": "b aI", "in": "I n", "with": "w I D",
    "a": "eI", "b": "b i", "c": "s i", "d": "d i", "e": "i", "f": "E f", "g": "dZ i", "h": "eI tS",
    "i": "aI", "j": "dZ eI", "k": "k eI", "l": "E l", "m": "E m", "n": "E n", "o": "oU", "p": "p i",
    "q": "k j u", "r": "A@( r)?", "s": "E s", "t": "t i", "u": "j u", "v": "v i", "x": "E k s", "y": "w aI",
    "z": "z i",
    "zero": "z i@? r oU", "one": "w V n", "two": "t u", "three": "T r i", "four": "f o@( r)?",
    "five": "f aI v", "six": "s I k s", "seven": "s E v @ n", "eight": "eI t#?", "nine": "n aI n",
    "again": "a# g E n", "now": "n aU", "please": "p l i z", "soon": "s u n",
}  # fmt: skip


def test_the_grammar_is_that_of_grid() -> None:
    assert [len(words) for words in SLOTS.values()] == [4, 4, 4, 25, 10, 4]
    assert math.prod(len(words) for words in SLOTS.values()) == 64_000
    assert "w" not in SLOTS["letter"]
    assert SLOTS["digit"][0] == "zero"


def test_splits_share_no_sentence() -> None:
    rng = np.random.default_rng(0)
    train, test = ({sample_sentence(rng, split) for _ in range(2000)} for split in ("train", "test"))
    assert not train & test
    assert all(is_sentence(text) for text in train | test)


def test_one_sentence_in_five_is_in_the_test_split() -> None:
    texts = [f"bin {c} {p} {x} {d} now" for c in SLOTS["color"] for p in SLOTS["preposition"]
             for x in SLOTS["letter"] for d in SLOTS["digit"]]  # fmt: skip
    assert np.mean([sentence_split(text) == "test" for text in texts]) == pytest.approx(0.2, abs=0.02)


def test_every_word_of_a_slot_is_used() -> None:
    rng = np.random.default_rng(1)
    seen = [
        set(words) for words in zip(*(sample_sentence(rng, "test").split() for _ in range(400)), strict=True)
    ]
    assert seen == [set(words) for words in SLOTS.values()]


def test_splits_share_no_voice() -> None:
    train, test = synthesis_voices("train"), synthesis_voices("test")
    assert len(train) >= 12
    assert len(test) >= 4
    assert not {v.variant for v in train} & {v.variant for v in test}
    assert len({v.name for v in train + test}) == len(train + test)


def test_pitch_is_a_property_of_the_voice() -> None:
    """The pitch of a voice is similar in all sentences, and differs between voices."""
    low, high = (
        next(v for v in synthesis_voices("test") if v.name == name) for name in ("f3-97-48", "f3-97-52")
    )
    text = sample_sentence(np.random.default_rng(2), "test")
    middle = [
        [float(pitch_quantiles(torch.from_numpy(synthesize(text, voice, np.random.default_rng(i)).wav))[1])
         for i in range(3)] for voice in (low, high)
    ]  # fmt: skip
    assert max(middle[0]) < min(middle[1])
    assert all(max(m) - min(m) < 0.04 for m in middle)


def test_the_same_seed_gives_the_same_bytes() -> None:
    first = [digest(wav) for wav, _, _ in synthesize_audio(4, seed=3)]
    assert first == [digest(wav) for wav, _, _ in synthesize_audio(4, seed=3)]
    assert first[0] != digest(next(synthesize_audio(1, seed=4))[0])


@pytest.mark.parametrize("variant", ["Reed", "klatt", "croak", "f3"])
def test_no_variant_depends_on_earlier_calls(variant: str) -> None:
    voice, text = SynthesisVoice(variant, variant, 50, 1.0), "bin blue at f two now"
    first = digest(synthesize(text, voice, np.random.default_rng(1)).wav)
    synthesize(text, SynthesisVoice("m1", "m1", 50, 1.0), np.random.default_rng(1))
    assert digest(synthesize(text, voice, np.random.default_rng(1)).wav) == first


def digest(wav: np.ndarray) -> str:
    return hashlib.sha256(wav.tobytes()).hexdigest()


def test_an_utterance_does_not_depend_on_earlier_ones() -> None:
    alone = synthesize_utterance("train", 3, 2)
    synthesize_utterance("test", 9, 9)
    assert synthesize_utterance("train", 3, 2).wav.tobytes() == alone.wav.tobytes()
    assert list(synthesize_audio(3, seed=3))[2][0].tobytes() == alone.wav.tobytes()


def test_audio_is_whole_frames_of_float32_within_range() -> None:
    for wav, text, _ in synthesize_audio(6, seed=5, split="test"):
        assert wav.dtype == np.float32
        assert wav.ndim == 1
        assert len(wav) % SAMPLES_PER_FRAME == 0
        assert 1.6 <= len(wav) / SAMPLE_RATE < 4.5
        assert 0.05 < np.abs(wav).max() <= 0.95
        assert sentence_split(text) == "test"


def test_silence_surrounds_the_speech() -> None:
    speech = synthesize_utterance("train", 5, 0)
    start = round(speech.phonemes[0].start * SAMPLE_RATE)
    assert start > 0.2 * SAMPLE_RATE
    assert np.abs(speech.wav[: start - 400]).max() < 1e-3
    assert np.abs(speech.wav[-int(0.15 * SAMPLE_RATE) :]).max() < 1e-3
    assert np.abs(speech.wav[start : start + SAMPLE_RATE]).max() > 0.05


def test_phonemes_are_contiguous_and_inside_the_audio() -> None:
    speech = synthesize_utterance("train", 6, 1)
    assert all(p.start < p.end for p in speech.phonemes)
    assert all(a.end == pytest.approx(b.start, abs=2e-4) for a, b in pairwise(speech.phonemes))
    assert speech.phonemes[-1].end <= len(speech.wav) / SAMPLE_RATE


@pytest.mark.parametrize("offset", range(5))
def test_the_phonemes_match_the_transcript(offset: int) -> None:
    characters = SLOTS["letter"][offset::5]
    for i, letter in enumerate(characters):
        text = " ".join([*(words[(i + offset) % 4] for words in list(SLOTS.values())[:3]), letter,
                         SLOTS["digit"][(2 * i + offset) % 10], SLOTS["adverb"][i % 4]])  # fmt: skip
        speech = synthesize(text, synthesis_voices("train")[7 * i % 40], np.random.default_rng(i))
        transcribed = " ".join(p.name for p in speech.phonemes if p.name != "_")
        assert re.fullmatch(" ".join(SOUNDS[word] for word in text.split()), transcribed), (text, transcribed)


def test_text_outside_the_grammar_is_rejected() -> None:
    with pytest.raises(ValueError, match="'bin blue at w two now' is not a sentence of the grammar"):
        to_espeak_text("bin blue at w two now")


@pytest.mark.parametrize(
    ("sentences", "seed", "split", "message"),
    [
        (0, 1, "train", "sentences must be 1 or more, got 0"),
        (1, -1, "train", "seed and index must be 0 or more"),
        (1, 1, "dev", "split must be one of train, test, got 'dev'"),
    ],
)
def test_invalid_arguments_are_rejected(sentences: int, seed: int, split: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        next(synthesize_audio(sentences, seed, split))


def test_random_streams_are_independent() -> None:
    draws = {random_stream(s, a, b, c).random() for s in ("train", "test") for a in (0, 1) for b in (0, 1)
             for c in (0, 1)}  # fmt: skip
    assert len(draws) == 16


def test_a_missing_extra_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    load_espeak.cache_clear()
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'lip2speech\[synth\]'"):
        next(synthesize_audio(1, seed=0))
    assert load_espeak.cache_info().currsize == 0
