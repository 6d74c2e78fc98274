"""Word, character, phoneme and slot errors; repetition loops (evaluation/metrics/error_rates.py)."""

import pytest

from lip2speech.evaluation.metrics.error_rates import (
    char_errors,
    edit_distance,
    has_repetition_loop,
    max_ngram_repeats,
    normalize_text,
    phoneme_errors,
    phonemes,
    slot_errors,
    word_errors,
)


def test_normalization_removes_case_and_punctuation_and_spells_digits() -> None:
    assert normalize_text(" Don\u2019t  set-blue, by 2!  Été ") == "don't set blue by two été"
    assert normalize_text("25 ...") == "25"
    assert normalize_text("?!") == ""


@pytest.mark.parametrize(
    ("transcript", "words", "chars"),
    [("bin blue", 0, 0), ("bin blew", 1, 2), ("", 2, 7), ("binblue", 2, 0)],
)
def test_word_and_character_errors_of_known_transcripts(transcript: str, words: int, chars: int) -> None:
    assert word_errors("bin blue", transcript) == (words, 2)
    assert char_errors("bin blue", transcript) == (chars, 7)


def test_homophones_have_no_phoneme_errors() -> None:
    assert phonemes("blue") == ["B", "L", "UW"]
    assert phoneme_errors("blue bin", "blew bin") == (0, 6)
    assert phoneme_errors("bin", "pin") == (1, 3)


def test_a_word_without_a_pronunciation_has_no_phoneme_errors() -> None:
    assert phonemes("xqzzy") is None
    assert phoneme_errors("blue xqzzy", "blue") == (0, 0) == phoneme_errors("blue", "xqzzy")


@pytest.mark.parametrize(
    ("transcript", "edits", "slots"),
    [
        ("bin blue at f two now", 0, 0),
        ("BIN blue by f two soon", 2, 2),
        ("", 6, 6),
        ("blue at f two now", 1, 6),
        ("bin blue at f two now now", 1, 0),
    ],
)
def test_a_deletion_is_one_edit_and_shifts_all_later_slots(transcript: str, edits: int, slots: int) -> None:
    text = "bin blue at f two now"
    assert edit_distance(text, transcript) == edits
    assert sum(slot_errors(text, transcript)) == slots


def test_words_without_a_reference_are_insertions() -> None:
    assert edit_distance("", "") == 0
    assert edit_distance("", "bin blue") == 2


@pytest.mark.parametrize(
    ("text", "repeats"),
    [
        ("", 0),
        ("a b c", 1),
        ("no no no no", 4),
        ("a b a b a b a", 3),
        ("x thank you thank you thank you y", 3),
        ("a b c d e f " * 2, 2),
    ],
)
def test_repeats_of_ngrams_up_to_six_words_are_counted(text: str, repeats: int) -> None:
    assert max_ngram_repeats(text) == repeats


def test_a_transcript_loops_if_it_repeats_more_than_its_reference() -> None:
    assert has_repetition_loop("thank you", "thank you thank you thank you thank you")
    assert not has_repetition_loop("thank you", "thank you thank you thank you")
    assert not has_repetition_loop("no no no no no", "no no no no no")
