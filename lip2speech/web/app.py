"""The web demo as one ASGI application, and how it is served.

/                     the three tabs (ui.py), Gradio
/live                 WebSocket of the Live tab (live_stream.py)
/gradio_api/upload    uploads (uploads.py), in front of Gradio's own endpoint
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lip2speech.web.security import LOOPBACK_HOSTS, is_loopback

if TYPE_CHECKING:
    from fastapi import FastAPI

    from lip2speech.web.components import AppState
    from lip2speech.web.storage import TempFileStore

DEFAULT_MODEL, DEFAULT_STREAMING_MODEL = "default", "live"
CLEANUP_INTERVAL_S = 30.0
MAX_MESSAGE_BYTES = 1 << 20
MEGABYTE = 1 << 20


@dataclass(frozen=True)
class ServerConfig:
    """How the demo is served.

    Attributes:
        model: model folder or name of a bundled model.
        live_model: the model of the Live tab.
        host: address to bind.
        port: port to bind.
        users: (name, password) of the users who may log in; empty disables login.
        max_sessions: live sessions at once.
        max_upload_mb: limit of one upload in MB.
        max_duration_s: limit of one video in seconds.
        examples: videos offered on the Convert tab; empty for the bundled sample.
        can_enroll: whether users may store voices. Without login, all users share one set of voices.
        frame_ancestors: CSP source list of the pages that may embed the demo.
    """

    model: str = DEFAULT_MODEL
    live_model: str = DEFAULT_STREAMING_MODEL
    host: str = "127.0.0.1"
    port: int = 7860
    users: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    max_sessions: int = 2
    max_upload_mb: int = 200
    max_duration_s: float = 180.0
    examples: tuple[Path, ...] = ()
    can_enroll: bool = True
    frame_ancestors: str = "'none'"


def default_streaming_model(model: str) -> str:
    """The model of the Live tab: the bundled default has a causal counterpart, any other serves both."""
    return DEFAULT_STREAMING_MODEL if model == DEFAULT_MODEL else model


def serve(config: ServerConfig, on_start: Callable[[str], None] = print) -> None:
    """Serve until a signal arrives, then delete every temporary file.

    Args:
        config: how the demo is served.
        on_start: called with one line that holds the address.

    Raises:
        CheckpointError: a model is missing or damaged.
        ValueError: the address cannot be bound.
    """
    import uvicorn

    from lip2speech.web.server import WebServer, bind
    from lip2speech.web.storage import TempFileStore

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # run the `finally` below
    sock = bind(config.host, config.port)
    storage = TempFileStore()
    try:
        storage.start_cleanup(CLEANUP_INTERVAL_S)
        app = create_app(config, storage)
        server = WebServer(uvicorn.Config(app, log_level="warning", ws_max_size=MAX_MESSAGE_BYTES))
        on_start(f"Open http://{config.host}:{config.port} in a browser; press Ctrl-C to stop.")
        with suppress(KeyboardInterrupt):  # the usual end
            server.run(sockets=[sock])
    finally:
        sock.close()
        storage.close()


def create_app(config: ServerConfig, storage: TempFileStore) -> FastAPI:
    """The whole application. CheckpointError: a model is missing or damaged."""
    configure_gradio(storage)
    from fastapi import FastAPI
    from starlette.routing import WebSocketRoute

    from lip2speech.web.security import SecurityMiddleware, demo_policy
    from lip2speech.web.uploads import upload_route

    state = load_state(config, storage)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.router.routes.append(WebSocketRoute("/live", state.live_server.serve))
    app.router.routes.append(upload_route(app, storage, config.max_upload_mb * MEGABYTE))
    mount_ui(app, state, config)
    hosts = LOOPBACK_HOSTS if is_loopback(config.host) else frozenset[str]()
    app.add_middleware(SecurityMiddleware, policy=demo_policy(hosts, config.frame_ancestors))
    return app


def configure_gradio(storage: TempFileStore) -> None:
    """Set the variables that Gradio reads on import: files go into the store, and nothing is sent out."""
    os.environ["GRADIO_TEMP_DIR"] = str(storage.root)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_RUN_HISTORY"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"


def load_state(config: ServerConfig, storage: TempFileStore) -> AppState:
    """Load both models and what the event handlers share."""
    from lip2speech.pipeline import Lip2Speech
    from lip2speech.web.components import AppState
    from lip2speech.web.handlers import SAMPLE_VIDEO, Limits
    from lip2speech.web.live_stream import LiveServer

    model = Lip2Speech.from_pretrained(config.model)
    live_server = LiveServer(Lip2Speech.from_pretrained(config.live_model), config.max_sessions)
    live_server.warm_up()
    return AppState(
        model=model,
        live_server=live_server,
        storage=storage,
        limits=Limits(max_upload_mb=config.max_upload_mb, max_duration_s=config.max_duration_s),
        examples=config.examples or (SAMPLE_VIDEO,),
        can_enroll=config.can_enroll,
        is_local=is_loopback(config.host),
    )


def mount_ui(app: FastAPI, state: AppState, config: ServerConfig) -> None:
    """Mount the Gradio page at `/`."""
    import gradio as gr

    from lip2speech.web import ui
    from lip2speech.web.components import translations

    gr.set_static_paths(list(state.examples))  # served in place; copies would be deleted after use
    page = ui.build(state)
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        auth=list(config.users) or None,
        max_file_size=f"{config.max_upload_mb}mb",
        show_error=True,
        footer_links=["api"],
        ssr_mode=False,
        theme=ui.theme(),
        css_paths=str(ui.STATIC / "demo.css"),
        head=ui.head(),
        i18n=translations,
    )
    page.has_launched = True  # from here on Gradio rejects input paths that were not uploaded
