"""The Gradio page: header, voice selection, three tabs, theme."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr

from lip2speech.web.components import AppState, i18n
from lip2speech.web.handlers import LOW_CONFIDENCE_MODES
from lip2speech.web.i18n import LANGUAGES, find_key, messages
from lip2speech.web.tabs import ConvertTab, LiveTab, VoiceTab

STATIC = Path(__file__).parent / "static"
MAX_QUEUE_SIZE = 8  # conversions; one runs at a time
MODE_LABELS = ("low_confidence_keep", "low_confidence_tone", "low_confidence_mute")
MIN_WIDTH = 280  # pixels; narrower screens stack the options
FONT = ["ui-sans-serif", "system-ui", "Hiragino Sans", "Noto Sans JP", "sans-serif"]


def build(state: AppState) -> gr.Blocks:
    """The whole page."""

    def refresh(request: gr.Request) -> Any:
        return state.voice_updates(request)[: len(dropdowns)]

    page = gr.Blocks(title="lip2speech", analytics_enabled=False)
    with page:
        add_header(state)
        voice, low_confidence = add_options(state)
        dropdowns = [voice]
        with gr.Tab(i18n("tab_live"), id="live"):
            LiveTab(state, voice, low_confidence)
        with gr.Tab(i18n("tab_convert"), id="convert"):
            ConvertTab(state, voice, low_confidence)
        if state.can_enroll:
            with gr.Tab(i18n("tab_voice"), id="voice"):
                dropdowns.append(VoiceTab(state, voice).enrolled)
        page.load(refresh, None, dropdowns, api_visibility="private")
    page.queue(max_size=MAX_QUEUE_SIZE, default_concurrency_limit=1)
    return page


def add_header(state: AppState) -> None:
    """Title, introduction and the model's usage note."""
    gr.Markdown(i18n("title"), elem_id="title")
    gr.Markdown(i18n("intro_local" if state.is_local else "intro_hosted"), elem_id="intro")
    if note := state.model.config.usage_note:
        key = find_key(note)
        gr.Markdown(i18n(key) if key else f"**{state.model.name}**: {note}", elem_id="note")


def add_options(state: AppState) -> tuple[gr.Dropdown, gr.Radio]:
    """The voice and what to do with low-confidence segments; both apply to Live and Convert."""
    with gr.Row():
        voice = gr.Dropdown(
            state.voice_choices(None), value="", label=i18n("voice"), elem_id="voice", min_width=MIN_WIDTH
        )
        modes = [(i18n(key), mode) for key, mode in zip(MODE_LABELS, LOW_CONFIDENCE_MODES, strict=True)]
        low_confidence = gr.Radio(
            modes, value=LOW_CONFIDENCE_MODES[0], label=i18n("low_confidence"), elem_id="low-confidence",
            visible=state.model.config.confidence is not None, min_width=MIN_WIDTH,
        )  # fmt: skip
    return voice, low_confidence


def head() -> str:
    """The script of the Live tab and its texts, inline."""
    texts = json.dumps({tag: messages("demo")[tag] for tag in LANGUAGES}).replace("<", "\\u003c")
    script = (STATIC / "live_stream.js").read_text(encoding="utf-8")
    return f"<script>window.lip2speechMessages = {texts};\n{script}</script>"


def theme() -> gr.themes.Base:
    """Teal on white in readable contrast, with system fonts so that none is downloaded."""
    soft = gr.themes.Soft(primary_hue="teal", font=FONT, font_mono=["ui-monospace", "monospace"])
    text = ("block_label_text_color", "block_title_text_color")
    primary = ("button_primary_background_fill", "checkbox_label_background_fill_selected")
    return soft.set(
        **dict.fromkeys(text, "*neutral_700"),
        **dict.fromkeys(primary, "*primary_700"),
        button_primary_background_fill_hover="*primary_800",
        block_title_background_fill="transparent",
        block_label_background_fill="rgba(255, 255, 255, .9)",
    )
