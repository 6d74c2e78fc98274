"""Both languages have the same messages, and the pages use them all (lip2speech/web/i18n.yaml)."""

import re
from pathlib import Path

import pytest

from lip2speech.pipeline import Lip2Speech
from lip2speech.web import i18n
from lip2speech.web.i18n import SECTIONS, Section, find_key, messages, preferred_language, translate
from lip2speech.web.recorder.app import STATUS_CODES
from lip2speech.web.ui import MODE_LABELS

WEB = Path(i18n.__file__).parent
RECORDER_PAGE = "".join((WEB / "static" / f"recorder.{kind}").read_text() for kind in ("js", "html"))
DEMO_PAGE = "".join(path.read_text() for path in [*WEB.glob("*.py"), WEB / "static" / "live_stream.js"])
LANGUAGE_NEUTRAL = {"position"}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_message_is_in_both_languages_with_the_same_placeholders(section: Section) -> None:
    english, japanese = messages(section)["en"], messages(section)["ja"]
    assert english.keys() == japanese.keys()
    for key, text in english.items():
        assert sorted(re.findall(r"\{(\w+)", text)) == sorted(re.findall(r"\{(\w+)", japanese[key])), key
        assert not re.search("[ぁ-んァ-ン一-龥]", text), key
        assert re.search("[ぁ-んァ-ン一-龥]", japanese[key]) or key in LANGUAGE_NEUTRAL, key


def test_every_demo_message_is_used() -> None:
    used = set(re.findall(r'"(\w+)"', DEMO_PAGE)) | set(MODE_LABELS) | {"note_grammar"}
    assert set(messages("demo")["en"]) <= used


def test_every_recorder_message_is_used_and_every_rejection_has_one() -> None:
    keys = messages("recorder")["en"].keys()
    reasons = {*STATUS_CODES, "no_face", "unreadable", "unusable", "incomplete"}
    assert reasons - {"no_length"} <= keys  # every browser sends a length
    assert keys <= set(re.findall(r'"(\w+)"', RECORDER_PAGE)) | reasons | {"countdown", "recording", "saving"}


def test_the_recorder_requests_no_audio_and_no_foreign_resource() -> None:
    assert "audio: false" in RECORDER_PAGE
    assert RECORDER_PAGE.count("getUserMedia") == 1
    assert not re.findall(r"https?://", RECORDER_PAGE)
    assert "innerHTML" not in RECORDER_PAGE
    assert " style=" not in RECORDER_PAGE


def test_usage_notes_of_the_bundled_models_are_translated() -> None:
    for name in ("default", "live"):
        key = find_key(Lip2Speech.from_pretrained(name).config.usage_note)
        assert key is not None
        assert "set blue with k four soon" in translate(key, "ja")
    assert find_key("a note of no model") is None


@pytest.mark.parametrize(
    ("accept_language", "language"),
    [
        ("ja", "ja"),
        ("ja-JP,en;q=0.8", "ja"),
        ("fr-FR,ja;q=0.5", "ja"),
        ("de", "en"),
        ("", "en"),
        (None, "en"),
    ],
)
def test_the_browser_determines_the_language(accept_language: str | None, language: str) -> None:
    assert preferred_language(accept_language) == language


def test_placeholders_are_filled_in() -> None:
    english = translate("video_too_long", "en", seconds=200.4, limit=180.0)
    assert english.startswith("The video is 200 s long; the limit is 180 s")
    assert translate("voice_deleted", "ja", name="ann").startswith("ann：")
