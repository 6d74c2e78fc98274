"""What the tabs share: words that the browser translates, components that take what was sent, errors."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lip2speech import Lip2Speech
from lip2speech.models.speaker_encoder import SpeakerEncoder
from lip2speech.web import handlers as work
from lip2speech.web.i18n import LANGUAGES, dictionary, language_of, say
from lip2speech.web.live_stream import LiveServer
from lip2speech.web.storage import TempFileStore

SAVE: Any = ["download"]  # without `share`, which would send the file away
PREFIX = "l2s_"  # Gradio has words of its own under plain keys
translations = gr.I18n(
    **{tag: {PREFIX + key: word for key, word in dictionary(tag).items()} for tag in LANGUAGES}
)


@dataclass(frozen=True)
class AppState:
    """What all handlers share."""

    speech: Lip2Speech
    booth: LiveServer
    rooms: TempFileStore
    limits: work.Limits

    def voices(self, person: str | None) -> list[tuple[Any, str]]:
        """What the voice dropdown offers a person."""
        own = [(name, name) for name in work.names_of(person)]
        return [(i18n("own_voice"), ""), *own, *((name, name) for name in self.speech.voices)]

    @property
    def speaker_encoders(self) -> list[SpeakerEncoder]:
        """What the models of the page hear voices with."""
        return [speech.speaker_encoder for speech in (self.speech, self.booth.speech)]

    def refreshed(self, request: gr.Request, chosen: str | None = None) -> tuple[Any, Any]:
        """Both dropdowns of voices as they are now for this person."""
        person = person_of(request)
        own = [(name, name) for name in work.names_of(person)]
        return (
            gr.update(choices=self.voices(person), value=chosen or ""),
            gr.update(choices=own, value=chosen),
        )


def i18n(key: str) -> Any:
    """A word of `words.yaml`, put into the person's language by the browser."""
    return translations(PREFIX + key)


def as_sent(component: Any) -> Any:
    """The component, giving its handler what the browser sent.

    The stock video would be transcoded, to drop a sound it never had; the stock dropdown knows only the
    choices it was built with, and they differ from person to person: the handlers look at the value.
    """
    setattr(component, "preprocess", lambda sent: getattr(sent, "path", sent) or None)  # noqa: B010
    return component


def person_of(request: gr.Request) -> str | None:
    """Who logged in; None where nobody has to."""
    return getattr(request, "username", None)


def language(request: gr.Request) -> str:
    """The language of the person's browser."""
    return language_of(request.headers.get("accept-language"))


@contextmanager
def one_sentence(language: str) -> Iterator[None]:
    """Errors as one sentence in the person's language; ours go to the log."""
    try:
        yield
    except work.UserError as refusal:
        raise gr.Error(say(refusal.key, language, **refusal.values), print_exception=False) from None
    except Exception as error:
        traceback.print_exception(error, file=sys.stderr)
        raise gr.Error(say("internal", language), print_exception=False) from None
