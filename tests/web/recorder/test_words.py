"""Both languages say the same, and say all that the page asks for (words.yaml, page.js, page.html)."""

import re

from lip2speech.web.recorder.server import STATUS, load, words

PAGE = (load("page.js") + load("page.html")).decode()


def test_every_word_is_in_both_languages() -> None:
    english, japanese = words()["en"], words()["ja"]
    assert english.keys() == japanese.keys()
    for key, text in english.items():
        assert sorted(re.findall(r"\{(\w+)", text)) == sorted(re.findall(r"\{(\w+)", japanese[key])), key
        assert text.isascii() or set(text) - set(map(chr, range(128))) <= set("·←→"), key
        assert re.search("[ぁ-んァ-ン一-龥]", japanese[key]) or key == "where", key


def test_every_word_is_used_and_every_reason_is_told() -> None:
    named = set(re.findall(r'"(\w+)"', PAGE))
    reasons = {*STATUS, "no_face", "unreadable", "unfit", "broken"} - {"no_length"}
    assert reasons <= words()["en"].keys()
    assert set(words()["en"]) <= named | reasons
    assert STATUS.keys() - words()["en"].keys() == {"no_length"}  # no browser leaves it out


def test_the_page_asks_for_no_sound_and_nothing_from_elsewhere() -> None:
    assert "audio: false" in PAGE and PAGE.count("getUserMedia") == 1
    assert not re.findall(r"https?://", PAGE) and "innerHTML" not in PAGE and " style=" not in PAGE
