"""Both languages say the same things."""

import re

import pytest

from lip2speech import Lip2Speech
from lip2speech.web.i18n import LANGUAGES, WORDS, dictionary, key_of, language_of, say


def test_what_a_shipped_model_says_of_itself_is_said_in_both_languages() -> None:
    for name in ("default", "live"):
        key = key_of(Lip2Speech.from_pretrained(name).config.usage_note)
        assert key is not None and "set blue with k four soon" in say(key, "ja")
    assert key_of("something that no model says") is None


def test_every_word_is_in_both_languages() -> None:
    for key, pair in WORDS.items():
        assert len(pair) == len(LANGUAGES) and all(pair), key
        slots = [sorted(re.findall(r"\{(\w+)", text)) for text in pair]
        assert slots[0] == slots[1], key
        assert re.search("[ぁ-んァ-ン一-龥]", pair[1]), key


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("ja", "ja"),
        ("ja-JP,en;q=0.8", "ja"),
        ("fr-FR,ja;q=0.5", "ja"),
        ("de", "en"),
        ("", "en"),
        (None, "en"),
    ],
)
def test_the_browser_chooses_the_language(accepted: str | None, language: str) -> None:
    assert language_of(accepted) == language


def test_values_are_put_in() -> None:
    assert say("too_long", "en", seconds=200.4, limit=180.0).startswith(
        "The video is 200 s long, at most 180 s"
    )
    assert say("gone", "ja", name="ann").startswith("ann：")
    assert dictionary("ja")["stop"] == "停止"
