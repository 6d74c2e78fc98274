"""What every request passes: the page talks to its own address alone, and never hears a microphone.

A site elsewhere that is open in the same browser could otherwise reach a page on the loopback address: the
host asked for must be ours, and a WebSocket must come from our own page.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lip2speech.web.storage import TempFileStore

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGI = Callable[[Message, Receive, Send], Awaitable[None]]

POLICY = {
    # scripts in the page and `unsafe-eval` are Gradio's own; nothing may be fetched from anywhere else
    "content-security-policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "frame-ancestors 'none'; form-action 'self'; base-uri 'self'",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class SecurityMiddleware:
    """ASGI middleware: headers that keep the page to itself, and a look at who asks.

    Args:
        hosts: names under which the page may be asked for, without port; empty: any.
    """

    def __init__(self, app: ASGI, hosts: frozenset[str]):
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get("host", ""), headers.get("origin")
        ours = not self.hosts or name_of(f"//{host}") in self.hosts
        same = origin is None or urlsplit(origin).netloc == host
        if not ours or (scope["type"] == "websocket" and not same):
            return await refuse(scope, send)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(k, v) for k, v in message["headers"] if k.decode().lower() not in POLICY]
                message["headers"] = kept + [(k.encode(), v.encode()) for k, v in POLICY.items()]
            await send(message)

        await self.app(scope, receive, guarded)


class PrivateUploadsMiddleware:
    """ASGI middleware: an upload gets a random folder of its own.

    Gradio names uploads by their content, so two people's equal files would be one, deleted after the
    first use. The answer to an upload, a list of paths, is rewritten.
    """

    def __init__(self, app: ASGI, rooms: TempFileStore):
        self.app, self.rooms = app, rooms
        self.busy = 0
        self.first: set[Path] = set()  # names by content, to be deleted when no upload is under way

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].endswith("/upload"):
            return await self.app(scope, receive, send)
        messages: list[Message] = []

        async def hold(message: Message) -> None:
            messages.append(message)

        self.busy += 1
        try:
            await self.app(scope, receive, hold)  # with Gradio's work after the answer: the files lie there
        finally:
            self.busy -= 1
        if not self.busy:  # what Gradio leaves of an upload that was broken off or refused
            self.rooms.drop("tmp*")
        for message in self.adopt(messages):
            await send(message)

    def adopt(self, messages: list[Message]) -> list[Message]:
        """The answer with paths of their own."""
        start = messages[0]
        if start["status"] != 200:
            return messages
        paths = json.loads(b"".join(m.get("body", b"") for m in messages[1:]))
        body = json.dumps([str(self.rooms.adopt(Path(p))) for p in paths]).encode()
        self.first |= {Path(p) for p in paths}
        if not self.busy:
            for path in self.first:
                self.rooms.delete(path)
            self.first.clear()
        headers = [(k, v) for k, v in start["headers"] if k.lower() != b"content-length"]
        headers.append((b"content-length", str(len(body)).encode()))
        return [{**start, "headers": headers}, {"type": "http.response.body", "body": body}]


def name_of(address: str) -> str:
    """The host of an address in small letters, without port."""
    return (urlsplit(address).hostname or "").lower()


async def refuse(scope: Message, send: Send) -> None:
    """403, or a closed door for a WebSocket."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"This page is asked for under another name.\n"})
