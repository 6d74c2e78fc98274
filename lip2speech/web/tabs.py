"""The three tabs: their components, and which function of handlers.py each button calls.

Videos and voices are passed to the handlers as the browser sent them (`preprocess=False`): Gradio would
re-encode a video to remove its audio, and check a voice against the initial choices instead of the user's.
"""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import gradio as gr

from lip2speech.audio.crossfade import LowConfidenceMode
from lip2speech.audio.io import write_wav
from lip2speech.web import handlers
from lip2speech.web.components import (
    DOWNLOAD_ONLY,
    AppState,
    i18n,
    request_language,
    user_errors,
    username,
)
from lip2speech.web.handlers import UserError
from lip2speech.web.i18n import translate

CAMERA = {"video": {"width": {"ideal": 640}, "height": {"ideal": 480}, "frameRate": {"ideal": 25}}}
MAX_PENDING_STARTS = 8
LIVE_HTML = """
<div id="live-stage">
  <div id="live-screen">
    <video id="live-video" muted playsinline></video><div id="live-face-box" hidden></div>
  </div>
  <div id="live-side">
    <div id="live-status" role="status" aria-live="polite"></div>
    <figure><img id="live-crop" alt=""><figcaption id="live-crop-label"></figcaption></figure>
    <div id="live-delay"></div>
    <label id="live-confidence-label" for="live-confidence"></label>
    <meter id="live-confidence" min="0" max="1" low="{threshold}" value="0"></meter>
  </div>
</div>
"""


class LiveTab:
    """Start requests a session token; with it, static/live_stream.js opens the camera and the WebSocket."""

    def __init__(self, state: AppState, voice: gr.Dropdown, low_confidence: gr.Radio):
        self.state = state
        threshold = state.live_server.model.config.confidence_threshold
        gr.HTML(LIVE_HTML.format(threshold=threshold))
        with gr.Row():
            start = gr.Button(i18n("start"), variant="primary", elem_id="live-start")
            stop = gr.Button(i18n("stop"), elem_id="live-stop")
        token = gr.Textbox(visible="hidden", elem_id="live-token")
        issued = start.click(
            self.issue_token, [voice, low_confidence], token, preprocess=False,
            js="(...x) => { lip2speechLive.unlock(); return x; }",
            concurrency_limit=MAX_PENDING_STARTS, show_progress="hidden", api_visibility="private",
        )  # fmt: skip
        issued.then(None, token, None, js="(token) => { lip2speechLive.start(token); }")
        stop.click(None, None, None, js="() => { lip2speechLive.stop(); }")

    def issue_token(self, voice: str | None, mode: LowConfidenceMode, request: gr.Request) -> str:
        """JSON with a session token, or with the key of an error message."""
        server = self.state.live_server
        try:
            check_mode(mode)
            embedding = handlers.speaker_embedding(server.model, username(request), voice)
        except UserError as error:
            return json.dumps({"error": error.key})
        speaker = server.model.speaker_embedding(None) if embedding is None else embedding
        return json.dumps({"token": server.tokens.issue(speaker, mode)})


class ConvertTab:
    """A video in; audio, spectrogram, video with audio, confidence and details out."""

    def __init__(self, state: AppState, voice: gr.Dropdown, low_confidence: gr.Radio):
        self.state = state
        with gr.Row():
            with gr.Column():
                video, convert = self.build_inputs()
            with gr.Column():
                outputs = self.build_outputs()
        previous = gr.State(None, delete_callback=state.storage.delete)
        cleared = convert.click(
            lambda: [None] * len(outputs), None, outputs, queue=False, show_progress="hidden",
            api_visibility="private",
        )  # fmt: skip
        converted = cleared.then(
            self.convert, [video, voice, low_confidence], outputs, preprocess=False, api_name="lip2speech",
            concurrency_id="model", show_progress_on=outputs[0],
        )  # fmt: skip
        converted.then(
            self.cleanup, [outputs[0], previous], [video, previous], show_progress="hidden",
            api_visibility="private",
        )  # fmt: skip

    def build_inputs(self) -> tuple[gr.Video, gr.Button]:
        """The left column."""
        limits = self.state.limits
        video = gr.Video(
            sources=["upload", "webcam"], include_audio=False, label=i18n("video"), elem_id="video",
            webcam_options=gr.WebcamOptions(mirror=False, constraints=CAMERA),
        )  # fmt: skip
        gr.Markdown(f"≤ {limits.max_upload_mb} MB, ≤ {limits.max_duration_s:.0f} s", elem_id="limits")
        convert = gr.Button(i18n("convert"), variant="primary", elem_id="convert-button")
        if self.state.examples:
            gr.Examples(
                [[str(path)] for path in self.state.examples], [video], label=i18n("examples"),
                cache_examples=False, elem_id="examples",
            )  # fmt: skip
        return video, convert

    def build_outputs(self) -> list[Any]:
        """The right column: audio, spectrogram, video, confidence bars, details."""
        audio = gr.Audio(
            label=i18n("speech"), type="filepath", interactive=False, elem_id="speech", buttons=DOWNLOAD_ONLY
        )
        spectrogram = gr.Image(
            label=i18n("spectrogram"), interactive=False, elem_id="spectrogram", buttons=[]
        )
        bars = gr.HTML(elem_id="confidence-bars")
        video = gr.Video(
            label=i18n("result_video"), interactive=False, elem_id="result-video", buttons=DOWNLOAD_ONLY
        )
        with gr.Accordion(i18n("details"), open=False):
            details = gr.JSON(show_label=False, elem_id="details")
        return [audio, spectrogram, video, bars, details]

    def convert(
        self, video: dict[str, Any] | None, voice: str | None, mode: LowConfidenceMode, request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  # how Gradio injects it
    ) -> tuple[str, str, str, str, dict[str, Any]]:  # fmt: skip
        """Paths of audio, spectrogram and video, the bars and the details. Deletes the upload."""
        state, language = self.state, request_language(request)
        with user_errors(language):
            path = state.input_video(video)
            try:
                check_mode(mode)
                embedding = handlers.speaker_embedding(state.model, username(request), voice)
                result = handlers.convert_video(
                    state.model, path, voice=embedding, low_confidence=mode, limits=state.limits,
                    storage=state.storage, progress=progress,
                )  # fmt: skip
            finally:
                state.storage.delete(path)
        bars = confidence_bars(result.confidence, state.model.config.confidence_threshold, language)
        return str(result.wav), str(result.spectrogram), str(result.video), bars, result.details

    def cleanup(self, wav: str | None, previous: str | None) -> tuple[None, str | None]:
        """Empty the input, whose file is deleted, and delete the previous result."""
        if previous != wav:
            self.state.storage.delete(previous)
        return None, wav


class VoiceTab:
    """Enroll, preview and delete voices. enrolled: the dropdown of enrolled voices."""

    def __init__(self, state: AppState, voice: gr.Dropdown):
        self.state, self.preview = state, handlers.VoicePreview(state.model)
        with gr.Row():
            with gr.Column():
                inputs, enroll, status = self.build_inputs()
            with gr.Column():
                self.enrolled = gr.Dropdown(
                    state.enrolled_choices(None),
                    value=None,
                    label=i18n("enrolled_voices"),
                    elem_id="enrolled",
                )
                with gr.Row():
                    listen = gr.Button(i18n("listen"), elem_id="listen")
                    delete = gr.Button(i18n("delete"), variant="stop", elem_id="delete")
                audio = gr.Audio(
                    label=i18n("speech"), interactive=False, elem_id="voice-preview", buttons=DOWNLOAD_ONLY
                )
                details = gr.JSON(label=i18n("voice_details"), elem_id="voice-details")
        dropdowns = [voice, self.enrolled]
        enroll.click(self.enroll, inputs, [*dropdowns, status, inputs[0]], api_name="enroll")
        listen.click(
            self.listen, self.enrolled, [audio, details], preprocess=False, api_name="listen",
            concurrency_id="model",
        )  # fmt: skip
        delete.click(
            self.delete, self.enrolled, [*dropdowns, status, audio, details], preprocess=False,
            api_name="delete",
        )  # fmt: skip

    def build_inputs(self) -> tuple[list[Any], gr.Button, gr.Markdown]:
        """The left column: recordings, name and consent; the button; the status line."""
        recordings = gr.File(
            file_count="multiple", file_types=["audio", "video"], type="filepath",
            label=i18n("recordings"), elem_id="recordings",
        )  # fmt: skip
        name = gr.Textbox(
            label=i18n("name"), placeholder=i18n("name_hint"), max_length=40, elem_id="voice-name"
        )
        consent = gr.Textbox(
            label=i18n("consent"), placeholder=i18n("consent_hint"), lines=2, max_length=500,
            elem_id="consent",
        )  # fmt: skip
        enroll = gr.Button(i18n("enroll"), variant="primary", elem_id="enroll")
        return [recordings, name, consent], enroll, gr.Markdown(elem_id="voice-status")

    def enroll(
        self, recordings: list[str] | None, name: str, consent: str, request: gr.Request
    ) -> tuple[Any, Any, str, None]:
        """Dropdowns with the new voice and a status line. Deletes the recordings once they are enrolled.

        After an error they are kept, so that the user can correct the name or consent and try again.
        """
        state, language, paths = self.state, request_language(request), [Path(p) for p in recordings or []]
        with user_errors(language):
            if not all(path in state.storage for path in paths):
                raise UserError("rejected", reason="recordings must be uploaded files.")
            voice = handlers.enroll_voice(
                username(request), name, paths, consent, state.limits, state.speaker_encoders
            )
        for path in paths:
            state.storage.delete(path)
        notes = "; ".join(voice.warnings)
        status = translate("voice_enrolled", language, name=voice.name, notes=notes)
        return *state.voice_updates(request, voice.name), status, None

    def listen(self, voice: str | None, request: gr.Request) -> tuple[str, dict[str, Any]]:
        """The path of the sample in a voice, and the properties of the voice."""
        state, user = self.state, username(request)
        with user_errors(request_language(request)):
            if not voice:
                raise UserError("no_voice_selected")
            details = handlers.describe_voice(user, voice)
            wav = self.preview(handlers.speaker_embedding(state.model, user, voice))
            path = state.storage.create() / "voice.wav"
            write_wav(path, wav, state.model.sample_rate)
        return str(path), details

    def delete(self, voice: str | None, request: gr.Request) -> tuple[Any, Any, str, None, None]:
        """Dropdowns without the voice, and a status line."""
        language = request_language(request)
        with user_errors(language):
            if not voice:
                raise UserError("no_voice_selected")
            handlers.remove_voice(username(request), voice)
        status = translate("voice_deleted", language, name=voice)
        return *self.state.voice_updates(request), status, None, None


def check_mode(mode: str) -> None:
    """UserError unless it is a low-confidence mode."""
    if mode not in handlers.LOW_CONFIDENCE_MODES:
        expected = ", ".join(handlers.LOW_CONFIDENCE_MODES)
        raise UserError("rejected", reason=f"low_confidence must be one of {expected}, got {mode!r}.")


def confidence_bars(confidence: tuple[float, ...] | None, threshold: float, language: str) -> str:
    """HTML with one bar per second; those below the model's threshold have class `low`."""
    label = html.escape(translate("confidence_per_second", language))
    if confidence is None:
        return f"<p>{label}: {html.escape(translate('confidence_unknown', language))}</p>"

    def bar(number: int, value: float) -> str:
        title = html.escape(translate("second", language, number=number))
        kind, height = "low" if value < threshold else "high", max(3, round(100 * value))
        return f'<span class="{kind}" style="height:{height}%" title="{title}: {100 * value:.0f} %"></span>'

    bars = "".join(bar(number, value) for number, value in enumerate(confidence, 1))
    return f'<p>{label}</p><div class="bars" role="img" aria-label="{label}">{bars}</div>'
