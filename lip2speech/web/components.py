"""What the tabs share: translated labels, the app state, the user and language of a request, errors."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from lip2speech.models.speaker_encoder import SpeakerEncoder
from lip2speech.pipeline import Lip2Speech
from lip2speech.web import handlers
from lip2speech.web.i18n import LANGUAGES, messages, preferred_language, translate
from lip2speech.web.live_stream import LiveServer
from lip2speech.web.storage import TempFileStore

DOWNLOAD_ONLY: Any = ["download"]  # without `share`, which uploads the file to a third party
KEY_PREFIX = "l2s_"  # Gradio has texts of its own under plain keys
translations = gr.I18n(
    **{tag: {KEY_PREFIX + key: text for key, text in messages("demo")[tag].items()} for tag in LANGUAGES}
)


@dataclass(frozen=True)
class AppState:
    """What all event handlers share.

    examples: videos offered on the Convert tab. can_enroll: whether users may store voices.
    is_local: whether the server is reachable from this computer only.
    """

    model: Lip2Speech
    live_server: LiveServer
    storage: TempFileStore
    limits: handlers.Limits
    examples: tuple[Path, ...] = ()
    can_enroll: bool = True
    is_local: bool = True

    def enrolled_choices(self, user: str | None) -> list[tuple[str, str]]:
        """(label, value) of a user's enrolled voices."""
        return [(name, name) for name in handlers.voice_names(user)] if self.can_enroll else []

    def voice_choices(self, user: str | None) -> list[tuple[Any, str]]:
        """(label, value) of all voices a user may select."""
        bundled = [(name, name) for name in self.model.voices]
        return [(i18n("default_voice"), ""), *self.enrolled_choices(user), *bundled]

    @property
    def speaker_encoders(self) -> list[SpeakerEncoder]:
        """The speaker encoders of both models."""
        return [model.speaker_encoder for model in (self.model, self.live_server.model)]

    def voice_updates(self, request: gr.Request, selected: str | None = None) -> tuple[Any, Any]:
        """Updates of both voice dropdowns for the user of a request."""
        user = username(request)
        return (
            gr.update(choices=self.voice_choices(user), value=selected or ""),
            gr.update(choices=self.enrolled_choices(user), value=selected),
        )

    def input_video(self, value: dict[str, Any] | None) -> Path:
        """The path of an uploaded video or example. UserError: none, or a file from elsewhere."""
        path = Path((value or {}).get("path") or "")
        if path in self.storage or path in self.examples:
            return path
        raise handlers.UserError("no_video")


def i18n(key: str) -> Any:
    """A message of i18n.yaml that the browser shows in its language."""
    return translations(KEY_PREFIX + key)


def username(request: gr.Request) -> str | None:
    """The logged-in user; None where login is off."""
    return getattr(request, "username", None)


def request_language(request: gr.Request) -> str:
    """The language of the user's browser."""
    return preferred_language(request.headers.get("accept-language"))


@contextmanager
def user_errors(language: str) -> Iterator[None]:
    """Show errors as one translated sentence; log unexpected ones with their traceback."""
    try:
        yield
    except handlers.UserError as error:
        raise gr.Error(translate(error.key, language, **error.values), print_exception=False) from None
    except Exception as error:
        traceback.print_exception(error, file=sys.stderr)
        raise gr.Error(translate("internal_error", language), print_exception=False) from None
