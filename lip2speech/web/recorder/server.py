"""The page's server: on the loopback address only, and for who knows the address with its random part.

    GET ADDRESS   page.html   GET page.js, page.css   GET state   what there is to record, and all words
    PUT takes/NAME            a video of the prompt NAME

Another page that is open in the same browser could reach the loopback as well, so the host asked for must
be ours (a foreign name may be made to point here) and a video must come from our own page. Who asks is
checked before anything is read.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import socketserver
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any
from urllib.parse import unquote

from lip2speech.config import parse_yaml
from lip2speech.web.recorder.session import RecordingSession, RejectedUpload

LOOPBACK = ("127.0.0.1", "localhost")
TOKEN_BYTES = 16  # 128 bits: nobody guesses it
MOST_BYTES = 50_000_000  # of one video; 20 s of a camera are 10 MB
CHUNK = 1 << 16
PATIENCE_S = 30  # without a byte from the other side

FILES = {"": "page.html", "page.js": "page.js", "page.css": "page.css"}
TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css"}
LANGUAGES = ("en", "ja")  # columns of words.yaml

STATUS = {
    "no_prompt": HTTPStatus.NOT_FOUND,
    "no_length": HTTPStatus.LENGTH_REQUIRED,
    "too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "not_video": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "not_stored": HTTPStatus.INSUFFICIENT_STORAGE,
}
"""Why a video is not kept -> the answer's status; otherwise 422."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=(), display-capture=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # the address is a secret
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class RecorderServer(ThreadingHTTPServer):
    """Serves one session until `close`. ValueError: the port cannot be had; 0 takes a free one."""

    daemon_threads = False  # a video that has arrived is still stored
    allow_reuse_address = os.name != "nt"  # where it means: also while old connections fade
    allow_reuse_port = False

    def __init__(self, session: RecordingSession, port: int = 0):
        self.session, self.token = session, secrets.token_urlsafe(TOKEN_BYTES)
        self._connections: set[socket.socket] = set()
        try:
            super().__init__((LOOPBACK[0], port), RecorderHandler)
        except OSError as error:
            raise ValueError(f"port {port}: {error.strerror}; give another with --port.") from None

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"http://{LOOPBACK[0]}:{self.server_port}/{self.token}/"

    def run(self) -> None:
        """Serve until an exception ends the wait, as Ctrl-C does; then `close`.

        Connections are taken in a thread of their own: a signal raises in the main one, and between a
        connection's arrival and its own thread it would leave the two apart.
        """
        serving = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1})
        serving.start()
        try:
            while serving.is_alive():
                serving.join(1.0)
        finally:
            self.shutdown()
            serving.join()
            self.close()

    def close(self) -> None:
        """Let go of everyone; videos that arrived whole are looked at and stored, others are gone."""
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RD)
        self.server_close()

    def server_bind(self) -> None:
        """As the base class, but asks no name server what this computer is called."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = LOOPBACK[0], self.socket.getsockname()[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """One connection, in a thread of its own."""
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """The end of a connection."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks is no news; our own mistakes are."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class RecorderHandler(BaseHTTPRequestHandler):
    """One request of one connection (HTTP/1.0: the answer ends with it)."""

    server: RecorderServer
    timeout = PATIENCE_S

    def do_GET(self) -> None:
        """The page and what it shows."""
        place = self.place()
        if place == "state":
            self.answer_state()
        elif place in FILES:
            kind = TYPES[FILES[place].rpartition(".")[2]]
            self.answer(HTTPStatus.OK, f"{kind}; charset=utf-8", load(FILES[place]))
        elif place is not None:
            self.send_error(HTTPStatus.NOT_FOUND)

    def do_PUT(self) -> None:
        """A video."""
        place = self.place()
        if place is None:
            return
        folder, _, name = place.partition("/")
        try:
            if folder != "takes":
                raise RejectedUpload("no_prompt")
            self.server.session.keep(unquote(name), self.body(self.length()))
        except RejectedUpload as error:
            status = STATUS.get(error.why, HTTPStatus.UNPROCESSABLE_ENTITY)
            self.answer_json(status, {"why": error.why, "detail": error.detail})
        except (ConnectionError, TimeoutError):
            raise
        except OSError as error:
            told = {"why": "not_stored", "detail": error.strerror or str(error)}
            self.answer_json(STATUS["not_stored"], told)
        else:
            self.answer_json(HTTPStatus.OK, {"why": "kept", "detail": ""})

    def place(self) -> str | None:
        """What is asked for, behind the token; None when the asker was turned away."""
        hosts, origins = self.headers.get_all("Host", []), self.headers.get_all("Origin", [])
        ours = len(hosts) == 1 and hosts[0].partition(":")[0].lower() in LOOPBACK
        foreign = (origins or self.command == "PUT") and origins != [f"http://{hosts[0]}" for _ in hosts]
        if not ours or foreign:
            self.send_error(HTTPStatus.FORBIDDEN)
            return None
        token, slash, place = self.path.removeprefix("/").partition("/")
        if not slash or not secrets.compare_digest(token.encode(), self.server.token.encode()):
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return place

    def length(self) -> int:
        """Bytes to come; Refused: not said, or too many."""
        told = self.headers.get("Content-Length", "")
        if not (told.isascii() and told.isdecimal()):
            raise RejectedUpload("no_length")
        if len(told) > len(str(MOST_BYTES)) or int(told) > MOST_BYTES:
            raise RejectedUpload("too_large", f"{told} bytes, at most {MOST_BYTES}.")
        return int(told)

    def body(self, length: int) -> Iterator[bytes]:
        """The bytes as they arrive; Refused when there are fewer than were promised."""
        while length:
            chunk = self.rfile.read(min(CHUNK, length))
            if not chunk:
                raise RejectedUpload("broken", "the connection ended early.")
            length -= len(chunk)
            yield chunk

    def answer_state(self) -> None:
        """What there is to record, the limits, and all words."""
        try:
            state = self.server.session.state()
        except ValueError as error:  # the folder or its prompts have gone
            self.answer_json(HTTPStatus.GONE, {"why": "gone", "detail": str(error)})
        else:
            self.answer_json(HTTPStatus.OK, state | {"most_bytes": MOST_BYTES, "words": words()})

    def answer_json(self, status: HTTPStatus, values: dict[str, Any]) -> None:
        """Send plain values."""
        self.answer(status, "application/json", json.dumps(values).encode())

    def answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        """Send bytes of a kind."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def end_headers(self) -> None:
        """Every answer, a refusal too, keeps the page to itself."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def version_string(self) -> str:
        """Who answers."""
        return "lip2speech"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: requests hold the token."""


def load(name: str) -> bytes:
    """A file of the page."""
    return resources.files(__package__).joinpath(name).read_bytes()


@cache
def words() -> dict[str, dict[str, str]]:
    """Language -> key -> sentence."""
    rows = parse_yaml(load("words.yaml").decode("utf-8"), "words.yaml")
    return {language: {key: row[i] for key, row in rows.items()} for i, language in enumerate(LANGUAGES)}
