"""The recorder's server: bound to the loopback address, for whoever knows its secret path.

    GET ADDRESS                 the page, with recorder.js and recorder.css
    GET state                   prompts, limits and all messages as JSON
    PUT recordings/NAME         the video of the prompt NAME

Host, Origin and the secret are checked before a request body is read.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from pathlib import Path

import anyio.from_thread
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from lip2speech.web.i18n import messages
from lip2speech.web.recorder.session import RecordingSession, RejectedUploadError
from lip2speech.web.security import (
    LOOPBACK_HOSTS,
    ASGIApp,
    Message,
    Receive,
    SecurityMiddleware,
    SecurityPolicy,
    Send,
)
from lip2speech.web.server import WebServer, bind

HOST = "127.0.0.1"
TOKEN_BYTES = 16  # 128 bits
MAX_UPLOAD_BYTES = 50_000_000  # one video; 20 s from a camera are 10 MB
UPLOAD_TIMEOUT_S = 30  # without receiving a byte
STATIC = Path(__file__).parents[1] / "static"
FILES = {
    "": ("recorder.html", "text/html"),
    "recorder.js": ("recorder.js", "text/javascript"),
    "recorder.css": ("recorder.css", "text/css"),
}
STATUS_CODES = {
    "no_prompt": 404,
    "no_length": 411,
    "too_large": 413,
    "not_video": 415,
    "write_failed": 507,
}
"""Reason for rejecting an upload -> HTTP status; 422 for all others."""

POLICY = SecurityPolicy(
    hosts=LOOPBACK_HOSTS,
    origin_schemes=frozenset({"http"}),
    origin_required=frozenset({"PUT"}),
    headers={
        "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'",
        "permissions-policy": "camera=(self), microphone=(), geolocation=(), display-capture=()",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "referrer-policy": "same-origin",  # the address is a secret
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
        "server": "lip2speech",
    },
)


class RecorderServer:
    """Serves one session until a signal or `stop`.

    Args:
        session: the folder that is recorded.
        port: port to bind; 0 for any free one.

    Raises:
        ValueError: the port cannot be bound.
    """

    def __init__(self, session: RecordingSession, port: int = 0):
        self.token = secrets.token_urlsafe(TOKEN_BYTES)
        self._socket = bind(HOST, port)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            create_app(session, self.token), log_config=None, access_log=False, lifespan="off", ws="none",
            http="h11", loop="asyncio", server_header=False,
        )  # fmt: skip
        self._server = WebServer(config)

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"http://{HOST}:{self.port}/{self.token}/"

    def run(self) -> None:
        """Serve; a signal is raised again after the shutdown.

        Videos that have arrived completely are still validated and stored, others are discarded.
        """
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()

    def stop(self) -> None:
        """Make `run`, in another thread, return."""
        self._server.should_exit = True


def create_app(session: RecordingSession, token: str) -> Starlette:
    """The routes behind the middleware."""
    endpoints = RecorderEndpoints(session)
    routes = [
        Route("/state", endpoints.state),
        Route("/recordings/{name:path}", endpoints.store, methods=["PUT"]),
        Route("/{name:path}", endpoints.file),
    ]
    middleware = [
        Middleware(SecurityMiddleware, policy=POLICY),
        Middleware(SecretPathMiddleware, token=token),
    ]
    return Starlette(routes=routes, middleware=middleware)


class RecorderEndpoints:
    """The endpoints of one session."""

    def __init__(self, session: RecordingSession):
        self.session = session

    async def file(self, request: Request) -> Response:
        """The page and its files."""
        found = FILES.get(request.path_params["name"])
        if found is None:
            return PlainTextResponse("Not found.\n", 404)
        name, media_type = found
        return Response((STATIC / name).read_bytes(), media_type=media_type)

    async def state(self, request: Request) -> Response:
        """Prompts, limits and messages."""
        try:
            state = await run_in_threadpool(self.session.state)
        except ValueError as error:  # the folder or its prompts are gone
            return JSONResponse({"reason": "gone", "detail": str(error)}, 410)
        return JSONResponse(state | {"max_bytes": MAX_UPLOAD_BYTES, "messages": messages("recorder")})

    async def store(self, request: Request) -> Response:
        """Store a video."""
        try:
            check_length(request.headers.get("content-length", ""))
            chunks = body_chunks(request)
            await run_in_threadpool(self.session.store, request.path_params["name"], chunks)
        except RejectedUploadError as error:
            body = {"reason": error.reason, "detail": error.detail}
            return JSONResponse(body, STATUS_CODES.get(error.reason, 422))
        except OSError as error:
            body = {"reason": "write_failed", "detail": error.strerror or str(error)}
            return JSONResponse(body, STATUS_CODES["write_failed"])
        return JSONResponse({"reason": "saved", "detail": ""})


class SecretPathMiddleware:
    """Answers 404 unless the path starts with the token, which is removed from it."""

    def __init__(self, app: ASGIApp, token: str):
        self.app, self.token = app, token

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        first, slash, rest = scope["path"].removeprefix("/").partition("/")
        if not slash or not secrets.compare_digest(first.encode(), self.token.encode()):
            response = PlainTextResponse("Not found.\n", 404)
            return await response(scope, receive, send)
        await self.app({**scope, "path": f"/{rest}"}, receive, send)


def body_chunks(request: Request) -> Iterator[bytes]:
    """The body of a request, read from a worker thread. RejectedUploadError: it ends early."""
    stream = request.stream()

    async def receive() -> bytes:
        try:
            return await asyncio.wait_for(anext(stream, b""), UPLOAD_TIMEOUT_S)
        except (ClientDisconnect, TimeoutError):
            raise RejectedUploadError("incomplete", "the connection ended early.") from None

    while chunk := anyio.from_thread.run(receive):
        yield chunk


def check_length(value: str) -> None:
    """RejectedUploadError: the Content-Length is missing, malformed or too large."""
    if not (value.isascii() and value.isdecimal()):
        raise RejectedUploadError("no_length")
    if int(value) > MAX_UPLOAD_BYTES:
        raise RejectedUploadError("too_large", f"{value} bytes, at most {MAX_UPLOAD_BYTES}.")
