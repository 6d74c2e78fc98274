"""The closed grammar of the synthetic corpus: six words, one from each slot.

It is the grammar of the GRID corpus (Cooke, Barker, Cunningham and Shao 2006, JASA 120(5), section II), so
that one model can learn both. 4 x 4 x 4 x 25 x 10 x 4 = 64,000 sentences; a hash of the text, not of a seed,
puts one in five of them into the test split, so no choice of seeds can make the splits overlap.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np

SLOTS: dict[str, tuple[str, ...]] = {
    "command": ("bin", "lay", "place", "set"),
    "colour": ("blue", "green", "red", "white"),
    "preposition": ("at", "by", "in", "with"),
    "letter": tuple("abcdefghijklmnopqrstuvxyz"),  # no w: the only letter of more than one syllable
    "digit": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "adverb": ("again", "now", "please", "soon"),
}
SPLITS = ("train", "test")
TEST_ONE_IN = 5
LETTER_SLOT = list(SLOTS).index("letter")
# a bare "a" is read as the article; the brackets hand the synthesiser phonemes instead of text
ESPEAK_OVERRIDES = {"a": "[['eI]]"}


def check_split(split: str) -> None:
    """ValueError unless this is a split."""
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}.")


def sentence_split(text: str) -> str:
    """The split that a sentence belongs to, for ever: a property of its words."""
    digest = hashlib.sha256(text.encode()).digest()
    return "test" if int.from_bytes(digest[:8], "big") % TEST_ONE_IN == 0 else "train"


def sample_sentence(rng: np.random.Generator, split: str) -> str:
    """One sentence of a split; every word of a slot is equally likely."""
    check_split(split)
    while True:
        text = " ".join(words[rng.integers(len(words))] for words in SLOTS.values())
        if sentence_split(text) == split:
            return text


def is_sentence(text: str) -> bool:
    """Whether the grammar has this sentence."""
    words = text.split()
    return len(words) == len(SLOTS) and all(w in slot for w, slot in zip(words, SLOTS.values(), strict=True))


def to_espeak_text(text: str) -> str:
    """The text as the synthesiser must be given it."""
    if not is_sentence(text):
        raise ValueError(f"{text!r} is not a sentence of the grammar ({' '.join(SLOTS)}).")
    words = text.split()
    words[LETTER_SLOT] = ESPEAK_OVERRIDES.get(words[LETTER_SLOT], words[LETTER_SLOT])
    return " ".join(words)


def count_sentences() -> int:
    """Sentences of both splits together."""
    return math.prod(len(words) for words in SLOTS.values())
