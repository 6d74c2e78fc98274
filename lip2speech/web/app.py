"""`python -m lip2speech.web.app`: the page on this computer, for nobody else unless they log in.

/            the three tabs (page.py)          /live    the WebSocket of the live tab (live.py)
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fastapi import FastAPI

    from lip2speech.web.storage import TempFileStore

LOOPBACK = ("127.0.0.1", "localhost", "::1")
FEWEST = 8  # characters of a password
SWEEP_S = 30.0


@dataclass(frozen=True)
class ServerConfig:
    """How the page is served.

    live_model: what speaks live; users: (name, password) of those who may log in; none on loopback.
    """

    model: str = "default"
    live_model: str = "live"
    host: str = "127.0.0.1"
    port: int = 7860
    users: tuple[tuple[str, str], ...] = ()
    places: int = 2
    megabytes: int = 200
    seconds: float = 180.0


def make_app(settings: ServerConfig, rooms: TempFileStore) -> FastAPI:
    """Everything behind one address. CheckpointError: no such model."""
    prepare_environment(rooms)
    import gradio as gr
    from fastapi import FastAPI
    from starlette.routing import WebSocketRoute

    from lip2speech import Lip2Speech
    from lip2speech.web import components as widgets
    from lip2speech.web import ui as pages
    from lip2speech.web.handlers import Limits
    from lip2speech.web.live_stream import LiveServer
    from lip2speech.web.security import PrivateUploadsMiddleware, SecurityMiddleware

    speech = Lip2Speech.from_pretrained(settings.model)
    booth = LiveServer(Lip2Speech.from_pretrained(settings.live_model), settings.places)
    booth.warm_up()
    limits = Limits(megabytes=settings.megabytes, video_s=settings.seconds)
    page = pages.build(widgets.AppState(speech, booth, rooms, limits))
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.router.routes.append(WebSocketRoute("/live", booth.serve))
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        auth=list(settings.users) or None,
        max_file_size=f"{settings.megabytes}mb",
        show_error=True,
        footer_links=["api"],
        ssr_mode=False,
        theme=pages.theme(),
        css_paths=str(pages.HERE / "page.css"),
        head=pages.head(),
        i18n=widgets.translations,
    )
    app.add_middleware(PrivateUploadsMiddleware, rooms=rooms)
    app.add_middleware(
        SecurityMiddleware, hosts=frozenset(LOOPBACK) if is_loopback(settings.host) else frozenset()
    )
    return app


def prepare_environment(rooms: TempFileStore) -> None:
    """Gradio reads these when it is imported: its files go into our folder, and it sends nothing out."""
    os.environ["GRADIO_TEMP_DIR"] = str(rooms.root)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"


def is_loopback(host: str) -> bool:
    """Whether nobody but this computer reaches a page served there."""
    return host in LOOPBACK


def live_form(model: str) -> str:
    """What speaks live beside a model: the bundled one has a live form, any other speaks for itself."""
    return ServerConfig.live_model if model == ServerConfig.model else model


def read_users(path: Path | None, host: str) -> tuple[tuple[str, str], ...]:
    """NAME:PASSWORD lines. ValueError: no users where others can reach the page, or a line that is none."""
    if path is None:
        if not is_loopback(host):
            raise ValueError(
                f"--host {host}: others could reach the page; give --users FILE with lines NAME:PASSWORD."
            )
        return ()
    users = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        name, _, password = line.partition(":")
        if not name.strip() or len(password) < FEWEST:
            raise ValueError(
                f"{path.name}: line {number} must be NAME:PASSWORD, the password {FEWEST} characters or more."
            )
        users.append((name.strip(), password))
    if not users:
        raise ValueError(f"{path.name}: no users in it; write lines NAME:PASSWORD.")
    return tuple(users)


def main(
    model: Annotated[str, typer.Option(help="A model folder, or the name of a bundled one.")] = "default",
    live_model: Annotated[
        str | None, typer.Option(help="The one that speaks live; by default the bundled one, or --model.")
    ] = None,
    host: Annotated[str, typer.Option(help="Another than the loopback needs --users.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the page.", min=1, max=65535)] = 7860,
    users: Annotated[Path | None, typer.Option(help="A file of NAME:PASSWORD lines.")] = None,
    places: Annotated[int, typer.Option(help="People who may speak live at once.", min=1)] = 2,
    megabytes: Annotated[int, typer.Option(help="Largest upload.", min=1)] = 200,
    seconds: Annotated[float, typer.Option(help="Longest video.", min=1)] = 180.0,
) -> None:
    """Serve the page until Ctrl-C; then everything that was uploaded or made is deleted."""
    from lip2speech.cli._errors import eprint, one_line_errors

    with one_line_errors():
        allowed = read_users(users, host)
        from lip2speech.web.storage import TempFileStore

        rooms = TempFileStore()
        rooms.sweep_every(SWEEP_S)
        signal.signal(
            signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)
        )  # or nothing would be deleted
        try:
            import uvicorn

            speaks_live = live_model or live_form(model)
            settings = ServerConfig(model, speaks_live, host, port, allowed, places, megabytes, seconds)
            app = make_app(settings, rooms)
            eprint(f"lip2speech: open http://{host}:{port} in a browser; Ctrl-C ends it.")
            uvicorn.run(app, host=host, port=port, log_level="warning", ws_max_size=1 << 20)
        finally:
            rooms.close()


if __name__ == "__main__":
    typer.run(main)
