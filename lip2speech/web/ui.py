"""The page: head, voice, three tabs; its looks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr

from lip2speech.web.components import AppState, as_sent, i18n
from lip2speech.web.i18n import LANGUAGES, dictionary, key_of
from lip2speech.web.tabs import ConvertTab, LiveTab, VoiceTab

HERE = Path(__file__).parent / "static"
MAX_WAITING = 8  # conversions in the queue; one runs at a time
FONT = ["ui-sans-serif", "system-ui", "Hiragino Sans", "Noto Sans JP", "sans-serif"]


def build(room: AppState) -> gr.Blocks:
    """The whole page."""

    def refresh(request: gr.Request) -> tuple[Any, Any]:
        return room.refreshed(request)

    with gr.Blocks(title="lip2speech", analytics_enabled=False) as page:
        gr.Markdown(i18n("title"), elem_id="title")
        gr.Markdown(i18n("lead"), elem_id="lead")
        if note := room.speech.config.usage_note:
            known = key_of(note)
            gr.Markdown(i18n(known) if known else f"**{room.speech.name}**: {note}", elem_id="note")
        with gr.Row():
            voice = as_sent(gr.Dropdown(room.voices(None), value="", label=i18n("voice"), elem_id="voice"))
            kinds = [(i18n(f"unsure_{kind}"), kind) for kind in ("keep", "tone", "mute")]
            knows = room.speech.config.confidence is not None
            unsure = gr.Radio(kinds, value="keep", label=i18n("unsure"), elem_id="unsure", visible=knows)
        with gr.Tab(i18n("live"), id="live"):
            LiveTab(room, voice, unsure)
        with gr.Tab(i18n("convert"), id="convert"):
            ConvertTab(room, voice, unsure)
        with gr.Tab(i18n("mine"), id="mine"):
            own = VoiceTab(room, voice).own
        page.load(refresh, None, [voice, own], api_visibility="private")
    page.queue(max_size=MAX_WAITING, default_concurrency_limit=1)
    return page


def head() -> str:
    """What the live tab's script needs, without any other address."""
    words = json.dumps({tag: dictionary(tag) for tag in LANGUAGES}).replace("<", "\\u003c")
    script = (HERE / "live.js").read_text(encoding="utf-8")
    return f"<script>window.lip2speechWords = {words};\n{script}</script>"


def theme() -> gr.themes.Base:
    """Teal on white, dark enough to read, with the fonts that the computer has: none is fetched."""
    soft = gr.themes.Soft(primary_hue="teal", font=FONT, font_mono=["ui-monospace", "monospace"])
    dark = ("block_label_text_color", "block_title_text_color")
    primary = ("button_primary_background_fill", "checkbox_label_background_fill_selected")
    return soft.set(
        **dict.fromkeys(dark, "*neutral_700"),
        **dict.fromkeys(primary, "*primary_700"),
        button_primary_background_fill_hover="*primary_800",
        block_title_background_fill="transparent",
        block_label_background_fill="rgba(255, 255, 255, .9)",
    )
