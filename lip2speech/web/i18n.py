"""What the page says, in English and Japanese (words.yaml).

Labels are translated by the browser, errors are written here in its language.
"""

from __future__ import annotations

from pathlib import Path

from lip2speech.config import load_yaml

LANGUAGES = ("en", "ja")
WORDS: dict[str, list[str]] = load_yaml(Path(__file__).with_name("i18n.yaml"))


def language_of(accepted: str | None) -> str:
    """The first language of an Accept-Language header that the page speaks; English when none is."""
    for part in (accepted or "").split(","):
        tag = part.split(";")[0].strip().lower()[:2]
        if tag in LANGUAGES:
            return tag
    return LANGUAGES[0]


def say(key: str, language: str, **values: object) -> str:
    """A sentence of the page with its values put in."""
    return WORDS[key][LANGUAGES.index(language)].format(**values)


def key_of(note: str) -> str | None:
    """The key of the English sentence that ends with what a model says of itself; None when there is none."""
    return next((key for key, pair in WORDS.items() if pair[0].endswith(note)), None)


def dictionary(language: str) -> dict[str, str]:
    """All words of one language."""
    return {key: pair[LANGUAGES.index(language)] for key, pair in WORDS.items()}
