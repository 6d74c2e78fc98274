"""Word, character, phoneme and slot errors of a transcript, and repetition loops.

Both texts are normalized first: lower case, no punctuation, single digits spelled out (larger numbers stay).
Phonemes are the first pronunciation in the CMU dictionary of the pocketsphinx wheel (English); a text with an
unknown word has no phoneme errors.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
MIN_LOOP_REPEATS, MAX_LOOP_NGRAM = 4, 6
"""A transcript loops if an n-gram of up to six words occurs 4 times in a row, and more than in the text."""


class ErrorCount(NamedTuple):
    """Substitutions + deletions + insertions, and the reference length; 0 and 0 if unknown."""

    edits: int
    length: int


def normalize_text(text: str) -> str:
    """Lower-case letters, digits and inner apostrophes; words separated by one space."""
    words = re.findall(r"\w+(?:'\w+)*", text.lower().replace("\u2019", "'").replace("_", " "))
    return " ".join(DIGITS[int(word)] if word in set("0123456789") else word for word in words)


def word_errors(text: str, transcript: str) -> ErrorCount:
    """Of two normalized texts."""
    return ErrorCount(edit_distance(text, transcript), len(text.split()))


def char_errors(text: str, transcript: str) -> ErrorCount:
    """As `word_errors`, over characters without spaces."""
    reference, hypothesis = ("".join(each.split()) for each in (text, transcript))
    return ErrorCount(edit_distance(" ".join(reference), " ".join(hypothesis)), len(reference))


def phoneme_errors(text: str, transcript: str) -> ErrorCount:
    """As `word_errors`, over phonemes; (0, 0) if either text has a word without a pronunciation."""
    reference, hypothesis = phonemes(text), phonemes(transcript)
    if reference is None or hypothesis is None:
        return ErrorCount(0, 0)
    return ErrorCount(edit_distance(" ".join(reference), " ".join(hypothesis)), len(reference))


def slot_errors(text: str, transcript: str) -> list[bool]:
    """For each word of `text`, whether `transcript` has another word, or none, at that position."""
    words, hypothesis = text.lower().split(), transcript.lower().split()
    return [i >= len(hypothesis) or hypothesis[i] != word for i, word in enumerate(words)]


def edit_distance(text: str, transcript: str) -> int:
    """Substitutions, deletions and insertions of words that turn `text` into `transcript`."""
    from jiwer import process_words

    words, hypothesis = text.lower().split(), transcript.lower().split()
    if not words or not hypothesis:
        return len(words) + len(hypothesis)
    out = process_words(" ".join(words), " ".join(hypothesis))
    return int(out.substitutions + out.deletions + out.insertions)


def phonemes(text: str) -> list[str] | None:
    """ARPAbet of a normalized text, or None if a word is not in the dictionary."""
    pronunciations = [_dictionary().get(word) for word in text.split()]
    if None in pronunciations:
        return None
    return [phoneme for word in pronunciations if word for phoneme in word.split()]


@cache
def _dictionary() -> dict[str, str]:
    from pocketsphinx import get_model_path

    lines = (Path(get_model_path()) / "en-us" / "cmudict-en-us.dict").read_text(encoding="utf-8").splitlines()
    # Alternative pronunciations are keyed "word(2)" and never looked up.
    return {word: phones.strip() for word, _, phones in (line.partition(" ") for line in lines)}


def has_repetition_loop(text: str, transcript: str) -> bool:
    """Whether the ASR looped, as attention models do on unintelligible input."""
    return max_ngram_repeats(transcript) >= max(MIN_LOOP_REPEATS, max_ngram_repeats(text) + 1)


def max_ngram_repeats(text: str) -> int:
    """Consecutive repeats of the most repeated n-gram, n = 1 to 6; 0 for no words."""
    words, most = text.split(), 0
    for n in range(1, MAX_LOOP_NGRAM + 1):
        same = 0  # consecutive words equal to the one `n` before
        for i in range(len(words)):
            same = same + 1 if i >= n and words[i] == words[i - n] else 0
            most = max(most, 1 + same // n)
    return most
