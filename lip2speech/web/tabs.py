"""The three tabs: what is seen, and which function of `work.py` each button calls."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import gradio as gr

from lip2speech.audio.crossfade import LowConfidenceMode
from lip2speech.audio.io import write_wav
from lip2speech.web import handlers as work
from lip2speech.web.components import SAVE, AppState, as_sent, i18n, language, one_sentence, person_of
from lip2speech.web.i18n import say

LOW = 0.5  # confidence below which a second is drawn as doubtful
CAMERA = {"video": {"width": {"ideal": 640}, "height": {"ideal": 480}, "frameRate": {"ideal": 25}}}
LIVE_HTML = """
<div id="live-stage">
  <div id="live-screen">
    <video id="live-video" muted playsinline></video><div id="live-overlay" hidden></div>
  </div>
  <div id="live-side">
    <div id="live-status" role="status" aria-live="polite"></div>
    <figure><img id="live-crop" alt=""><figcaption id="live-mouth"></figcaption></figure>
    <div id="live-delay"></div>
    <label id="live-sure-text" for="live-sure"></label>
    <meter id="live-sure" min="0" max="1" low="0.5" value="0"></meter>
  </div>
</div>
"""


class LiveTab:
    """Start asks for a ticket; with it the script opens camera and socket."""

    def __init__(self, room: AppState, voice: gr.Dropdown, unsure: gr.Radio):
        self.room = room
        gr.HTML(LIVE_HTML)
        with gr.Row():
            start = gr.Button(i18n("start"), variant="primary", elem_id="live-start")
            stop = gr.Button(i18n("stop"), elem_id="live-stop")
        ticket = gr.Textbox(visible="hidden", elem_id="live-ticket")
        given = start.click(
            self.give, [voice, unsure], ticket, js="(...x) => { lip2speechLive.unlock(); return x; }",
            concurrency_limit=8, show_progress="hidden", api_visibility="private",
        )  # fmt: skip
        given.then(None, ticket, None, js="(ticket) => { lip2speechLive.start(ticket); }")
        stop.click(None, None, None, js="() => { lip2speechLive.stop(); }")

    def give(self, chosen: str | None, doubt: LowConfidenceMode, request: gr.Request) -> str:
        """A ticket, or the key of what is wrong, as JSON."""
        try:
            vector = work.vector_of(self.room.booth.speech, person_of(request), chosen)
        except work.UserError as refusal:
            return json.dumps({"error": refusal.key})
        own = self.room.booth.speech.speaker_embedding(None) if vector is None else vector
        return json.dumps({"ticket": self.room.booth.tickets.give(own, doubt)})


class ConvertTab:
    """A video in; speech, picture, video with speech and confidence out."""

    def __init__(self, room: AppState, voice: gr.Dropdown, unsure: gr.Radio):
        self.room = room
        with gr.Row():
            with gr.Column():
                video, go = self.given()
            with gr.Column():
                outputs = self.made()
        last = gr.State(None, delete_callback=room.rooms.delete)
        inputs = [video, voice, unsure]
        spoke = go.click(self.speak, inputs, outputs, api_name="lip2speech", concurrency_id="model")
        spoke.then(
            self.tidy, [outputs[0], last], [video, last], show_progress="hidden", api_visibility="private"
        )

    def given(self) -> tuple[Any, gr.Button]:
        """The left column."""
        limits, options = self.room.limits, gr.WebcamOptions(mirror=False, constraints=CAMERA)
        video = gr.Video(
            sources=["upload", "webcam"], include_audio=False, webcam_options=options,
            label=i18n("video"), elem_id="video",
        )  # fmt: skip
        go = gr.Button(i18n("go"), variant="primary", elem_id="go")
        gr.Markdown(f"≤ {limits.megabytes} MB, ≤ {limits.video_s:.0f} s")
        return as_sent(video), go

    def made(self) -> list[Any]:
        """The right column: speech, picture, video, bars, numbers."""
        sound = gr.Audio(
            label=i18n("speech"), type="filepath", interactive=False, elem_id="speech", buttons=SAVE
        )
        picture = gr.Image(label=i18n("picture"), interactive=False, elem_id="picture", buttons=[])
        sure = gr.HTML(elem_id="bars")
        video = gr.Video(label=i18n("spoken_video"), interactive=False, elem_id="spoken", buttons=SAVE)
        with gr.Accordion(i18n("numbers"), open=False):
            numbers = gr.JSON(show_label=False, elem_id="numbers")
        return [sound, picture, video, sure, numbers]

    def speak(
        self, clip: str | None, chosen: str | None, doubt: LowConfidenceMode, request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (how Gradio is told to show it)
    ) -> tuple[str, str, str, str, dict[str, Any]]:  # fmt: skip
        """Paths of the speech, its picture and the video with it; bars; numbers. The upload is deleted."""
        room, tongue = self.room, language(request)
        with one_sentence(tongue):
            if not clip:
                raise work.UserError("no_video")
            try:
                vector = work.vector_of(room.speech, person_of(request), chosen)
                made = work.speak(
                    room.speech, Path(clip), voice=vector, unsure=doubt, limits=room.limits,
                    rooms=room.rooms, progress=progress,
                )  # fmt: skip
            finally:
                room.rooms.delete(clip)
        bars = draw(made.confidence, tongue)
        return str(made.wav), str(made.picture), str(made.video), bars, made.numbers

    def tidy(self, wav: str | None, before: str | None) -> tuple[None, str | None]:
        """The upload is gone, so its widget is emptied; the results before these are deleted."""
        if before != wav:
            self.room.rooms.delete(before)
        return None, wav


class VoiceTab:
    """Enrol, listen, delete. own: the dropdown of enrolled voices."""

    def __init__(self, room: AppState, voice: gr.Dropdown):
        self.room, self.sampler = room, work.VoicePreview(room.speech)
        with gr.Row():
            with gr.Column():
                inputs, make, told = self.given()
            with gr.Column():
                names = [(name, name) for name in work.names_of(None)]
                self.own = as_sent(gr.Dropdown(names, value=None, label=i18n("enrolled"), elem_id="own"))
                with gr.Row():
                    listen = gr.Button(i18n("listen"), elem_id="listen")
                    remove = gr.Button(i18n("delete"), variant="stop", elem_id="delete")
                sound = gr.Audio(label=i18n("speech"), interactive=False, elem_id="own-speech", buttons=SAVE)
                facts = gr.JSON(label=i18n("facts"), elem_id="facts")
        make.click(self.enroll, inputs, [voice, self.own, told, inputs[0]], api_name="enroll")
        listen.click(self.hear, self.own, [sound, facts], api_name="listen", concurrency_id="model")
        remove.click(self.forget, self.own, [voice, self.own, told, sound, facts], api_name="delete")

    def given(self) -> tuple[list[Any], gr.Button, gr.Markdown]:
        """The left column: recordings, name and consent; the button; what became of it."""
        files = gr.File(
            file_count="multiple", file_types=["audio", "video"], type="filepath",
            label=i18n("recordings"), elem_id="recordings",
        )  # fmt: skip
        name = gr.Textbox(label=i18n("name"), max_length=40, elem_id="voice-name")
        consent = gr.Textbox(
            label=i18n("consent"), placeholder=i18n("consent_hint"), lines=2, max_length=500,
            elem_id="consent",
        )  # fmt: skip
        make = gr.Button(i18n("enroll"), variant="primary", elem_id="enroll")
        return [files, name, consent], make, gr.Markdown(elem_id="told")

    def enroll(
        self, recordings: list[str] | None, name: str, words: str, request: gr.Request
    ) -> tuple[Any, Any, str, None]:
        """Dropdowns with the new voice, and what was made of the recordings, which are deleted."""
        room, tongue, paths = self.room, language(request), [Path(p) for p in recordings or []]
        with one_sentence(tongue):
            made = work.make_voice(person_of(request), name, paths, words, room.limits, room.speaker_encoders)
        for path in paths:  # kept until now: who only forgot the consent need not choose them again
            room.rooms.delete(path)
        notes = "; ".join(made.warnings)
        line = say("made", tongue, name=made.name, seconds=made.seconds, notes=notes)
        return *room.refreshed(request, made.name), line, None

    def hear(self, chosen: str | None, request: gr.Request) -> tuple[str, dict[str, Any]]:
        """The sample in a voice, and what is known of the voice."""
        room, person = self.room, person_of(request)
        with one_sentence(language(request)):
            if not chosen:
                raise work.UserError("none_chosen")
            facts = work.facts_of(person, chosen)
            wav = self.sampler(work.vector_of(room.speech, person, chosen))
            path = room.rooms.new() / "voice.wav"
            write_wav(path, wav, room.speech.sample_rate)
        return str(path), facts

    def forget(self, chosen: str | None, request: gr.Request) -> tuple[Any, Any, str, None, None]:
        """Dropdowns without the voice, and that it is gone."""
        tongue = language(request)
        with one_sentence(tongue):
            if not chosen:
                raise work.UserError("none_chosen")
            work.remove_voice(person_of(request), chosen)
        return *self.room.refreshed(request), say("gone", tongue, name=chosen), None, None


def draw(confidence: tuple[float, ...] | None, tongue: str) -> str:
    """One bar a second."""
    label = html.escape(say("confidence", tongue))
    if confidence is None:
        return f"<p>{label}: {html.escape(say('not_known', tongue))}</p>"
    second = html.escape(say("second", tongue))
    bars = "".join(
        f'<span class="{"low" if sure < LOW else "high"}" style="height:{max(3, round(100 * sure))}%" '
        f'title="{second} {i + 1}: {100 * sure:.0f} %"></span>'
        for i, sure in enumerate(confidence)
    )
    return f'<p>{label}</p><div class="bars" role="img" aria-label="{label}">{bars}</div>'
