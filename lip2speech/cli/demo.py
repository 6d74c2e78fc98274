"""`lip2speech demo`: serve the web demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lip2speech.cli._errors import UsageError, eprint, one_line_errors


def demo(
    model: Annotated[str, typer.Option(help="Model folder, or name of a bundled model.")] = "default",
    live_model: Annotated[
        str | None,
        typer.Option(help="Model of the Live tab [default: `live` for the default model, else --model]"),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to bind; any other than localhost requires --auth-file.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to bind.", min=1, max=65535)] = 7860,
    auth_file: Annotated[
        Path | None, typer.Option(help="Users who may log in, one NAME:PASSWORD per line.")
    ] = None,
    max_sessions: Annotated[int, typer.Option(help="Live sessions at once.", min=1)] = 2,
    max_duration: Annotated[float, typer.Option(help="Limit of one video in seconds.", min=1)] = 180.0,
    max_upload_mb: Annotated[int, typer.Option(help="Limit of one upload in MB.", min=1)] = 200,
) -> None:
    """Serve the web demo until Ctrl-C, then delete all uploads and results."""
    with one_line_errors():
        from lip2speech.web.app import ServerConfig, default_streaming_model, serve
        from lip2speech.web.security import is_loopback, read_auth_file

        if auth_file is None and not is_loopback(host):
            raise UsageError(
                f"--host {host} makes the demo reachable from other computers; "
                "pass --auth-file FILE with one NAME:PASSWORD per line."
            )
        config = ServerConfig(
            model=model,
            live_model=live_model or default_streaming_model(model),
            host=host,
            port=port,
            users=read_auth_file(auth_file) if auth_file else (),
            max_sessions=max_sessions,
            max_upload_mb=max_upload_mb,
            max_duration_s=max_duration,
        )
        serve(config, on_start=eprint)
