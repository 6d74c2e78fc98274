"""What was heard against what was said: words, letters, phones, and transcripts that run in circles.

Both texts are brought to the same form first: small letters, no punctuation, single digits spelled out.
Phones are the first pronunciation in the CMU dictionary that lies inside pocketsphinx's wheel: English alone,
and a text with a word it does not have gets no phone errors. Larger numbers stay as they are written.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from lip2speech.evaluation.metrics.intelligibility import edit_errors

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LOOP_TIMES, LOOP_WORDS = 4, 6
"""A transcript loops where up to six words come four times in a row, and oftener than in the text."""


class ErrorRate(NamedTuple):
    """Substitutions, deletions and insertions, and the length they are counted against; 0 where unknown."""

    edits: int
    length: int


def normalise(text: str) -> str:
    """Small letters, digits and inner apostrophes, with one space between words."""
    words = re.findall(r"\w+(?:'\w+)*", text.lower().replace("\u2019", "'").replace("_", " "))
    return " ".join(DIGITS[int(word)] if word in set("0123456789") else word for word in words)


def word_errors(text: str, transcript: str) -> ErrorRate:
    """Of two normalised texts."""
    return ErrorRate(edit_errors(text, transcript), len(text.split()))


def letter_errors(text: str, transcript: str) -> ErrorRate:
    """As `word_errors`, by letters; spaces do not count."""
    said, heard = ("".join(each.split()) for each in (text, transcript))
    return ErrorRate(edit_errors(" ".join(said), " ".join(heard)), len(said))


def phone_errors(text: str, transcript: str) -> ErrorRate:
    """As `word_errors`, by phones; (0, 0) where either text holds a word without a pronunciation."""
    said, heard = phones(text), phones(transcript)
    if said is None or heard is None:
        return ErrorRate(0, 0)
    return ErrorRate(edit_errors(" ".join(said), " ".join(heard)), len(said))


def phones(text: str) -> list[str] | None:
    """ARPAbet of a normalised text, or None where a word is not in the dictionary."""
    found = [_dictionary().get(word) for word in text.split()]
    return None if None in found else [phone for word in found if word for phone in word.split()]


@cache
def _dictionary() -> dict[str, str]:
    from pocketsphinx import get_model_path

    lines = (Path(get_model_path()) / "en-us" / "cmudict-en-us.dict").read_text(encoding="utf-8").splitlines()
    # Further pronunciations are called "word(2)" and are never asked for.
    return {word: said.strip() for word, _, said in (line.partition(" ") for line in lines)}


def loops(text: str, transcript: str) -> bool:
    """Whether a recogniser ran in circles, as attention models do on what they do not understand."""
    return most_repeats(transcript) >= max(LOOP_TIMES, most_repeats(text) + 1)


def most_repeats(text: str) -> int:
    """How often in a row the most repeated run of one to six words comes; 0 for no words."""
    words, most = text.split(), 0
    for length in range(1, LOOP_WORDS + 1):
        same = 0  # words in a row that equal the one `length` before
        for i in range(len(words)):
            same = same + 1 if i >= length and words[i] == words[i - length] else 0
            most = max(most, 1 + same // length)
    return most
