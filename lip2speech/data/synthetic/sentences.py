"""The closed grammar of the synthetic corpus: six words, one of each slot.

It is the grammar of the GRID corpus (Cooke, Barker, Cunningham and Shao 2006, JASA 120(5), section II), so
that one model can be trained on both. 4 x 4 x 4 x 25 x 10 x 4 = 64,000 sentences; a hash of the text, not of
a seed, assigns one in five to the test split, so the splits are disjoint for any seeds.
"""

from __future__ import annotations

import hashlib

import numpy as np

SLOTS: dict[str, tuple[str, ...]] = {
    "command": ("bin", "lay", "place", "set"),
    "color": ("blue", "green", "red", "white"),
    "preposition": ("at", "by", "in", "with"),
    "letter": tuple("abcdefghijklmnopqrstuvxyz"),  # no w, the only letter of more than one syllable
    "digit": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "adverb": ("again", "now", "please", "soon"),
}
SPLITS = ("train", "test")
TEST_ONE_IN = 5
LETTER_SLOT = list(SLOTS).index("letter")
# A single "a" would be read as the article; brackets give espeak-ng phonemes instead of text.
ESPEAK_OVERRIDES = {"a": "[['eI]]"}


def check_split(split: str) -> None:
    """Raise ValueError unless this is a split."""
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}.")


def sentence_split(text: str) -> str:
    """The split of a sentence, which depends on its words only."""
    digest = hashlib.sha256(text.encode()).digest()
    return "test" if int.from_bytes(digest[:8], "big") % TEST_ONE_IN == 0 else "train"


def sample_sentence(rng: np.random.Generator, split: str) -> str:
    """A random sentence of a split; the words of a slot are equally likely."""
    check_split(split)
    while True:
        text = " ".join(words[rng.integers(len(words))] for words in SLOTS.values())
        if sentence_split(text) == split:
            return text


def is_sentence(text: str) -> bool:
    """Whether the text is a sentence of the grammar."""
    words = text.split()
    return len(words) == len(SLOTS) and all(w in slot for w, slot in zip(words, SLOTS.values(), strict=True))


def to_espeak_text(text: str) -> str:
    """The input of espeak-ng for a sentence. ValueError: it is not of the grammar."""
    if not is_sentence(text):
        raise ValueError(f"{text!r} is not a sentence of the grammar ({' '.join(SLOTS)}).")
    words = text.split()
    words[LETTER_SLOT] = ESPEAK_OVERRIDES.get(words[LETTER_SLOT], words[LETTER_SLOT])
    return " ".join(words)
