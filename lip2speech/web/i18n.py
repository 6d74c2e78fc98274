"""The texts of the web demo and the recorder in English and Japanese (i18n.yaml).

Gradio labels and the recorder's page are translated in the browser, error messages on the server.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal, get_args

from lip2speech.config import load_yaml

Section = Literal["demo", "recorder"]
LANGUAGES = ("en", "ja")
DEFAULT_LANGUAGE = LANGUAGES[0]


@cache
def messages(section: Section) -> dict[str, dict[str, str]]:
    """All messages of one section: language -> key -> text."""
    rows = load_yaml(Path(__file__).with_name("i18n.yaml"))[section]
    return {language: {key: row[language] for key, row in rows.items()} for language in LANGUAGES}


def preferred_language(accept_language: str | None) -> str:
    """The first supported language of an Accept-Language header, else English."""
    for entry in (accept_language or "").split(","):
        tag = entry.split(";")[0].strip().lower()[:2]
        if tag in LANGUAGES:
            return tag
    return DEFAULT_LANGUAGE


def translate(key: str, language: str, **values: object) -> str:
    """A message of the demo with its placeholders filled in."""
    return messages("demo")[language][key].format(**values)


def find_key(english: str) -> str | None:
    """The key of the demo message that ends with an English text, such as a model's usage note, or None."""
    return next((key for key, text in messages("demo")["en"].items() if text.endswith(english)), None)


SECTIONS: tuple[Section, ...] = get_args(Section)
