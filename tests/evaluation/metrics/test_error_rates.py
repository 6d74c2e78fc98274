"""Words, letters and phones that were heard wrong, and transcripts that run in circles."""

import pytest

from lip2speech.evaluation.metrics.error_rates import (
    letter_errors,
    loops,
    most_repeats,
    normalise,
    phone_errors,
    phones,
    word_errors,
)


def test_texts_are_brought_to_one_form() -> None:
    assert normalise(" Don\u2019t  set-blue, by 2!  Été ") == "don't set blue by two été"
    assert normalise("25 ...") == "25" and normalise("?!") == ""


@pytest.mark.parametrize(
    ("transcript", "words", "letters"),
    [("bin blue", 0, 0), ("bin blew", 1, 2), ("", 2, 7), ("binblue", 2, 0)],
)
def test_words_and_letters_are_counted(transcript: str, words: int, letters: int) -> None:
    assert word_errors("bin blue", transcript) == (words, 2)
    assert letter_errors("bin blue", transcript) == (letters, 7)


def test_words_that_sound_alike_have_no_phone_errors() -> None:
    assert phones("blue") == ["B", "L", "UW"]
    assert phone_errors("blue bin", "blew bin") == (0, 6)
    assert phone_errors("bin", "pin") == (1, 3)


def test_a_word_without_a_pronunciation_leaves_phones_unknown() -> None:
    assert phones("xqzzy") is None
    assert phone_errors("blue xqzzy", "blue") == (0, 0) == phone_errors("blue", "xqzzy")


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("", 0),
        ("a b c", 1),
        ("no no no no", 4),
        ("a b a b a b a", 3),
        ("x thank you thank you thank you y", 3),
    ],
)
def test_repeats_are_counted_whatever_their_length(text: str, most: int) -> None:
    assert most_repeats(text) == most


def test_a_transcript_loops_where_it_repeats_more_than_was_said() -> None:
    assert loops("thank you", "thank you thank you thank you thank you")
    assert not loops("thank you", "thank you thank you thank you")
    assert not loops("no no no no no", "no no no no no")
