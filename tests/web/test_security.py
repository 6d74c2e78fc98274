"""Who may ask, and what the page may fetch."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lip2speech.web.security import ASGI, PrivateUploadsMiddleware, SecurityMiddleware
from lip2speech.web.storage import TempFileStore

HEADERS = [(b"host", b"127.0.0.1:7860")]


def ask(app: ASGI, scope: dict[str, Any]) -> list[Any]:
    """The messages of one request."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    with ThreadPoolExecutor(1) as thread:  # this one may be a browser test's, which has a loop already
        thread.submit(lambda: asyncio.run(app(scope, receive, send))).result()  # type: ignore[arg-type]
    return sent


async def hello(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"referrer-policy", b"origin")]})
    await send({"type": "http.response.body", "body": b"hello"})


def scope_of(kind: str, headers: list[tuple[bytes, bytes]], path: str = "/") -> dict[str, Any]:
    return {"type": kind, "path": path, "headers": headers}


def test_the_page_may_fetch_from_itself_alone_and_never_hear() -> None:
    start, body = ask(SecurityMiddleware(hello, frozenset({"127.0.0.1"})), scope_of("http", HEADERS))
    headers = dict(start["headers"])
    assert b"default-src 'self'" in headers[b"content-security-policy"]
    assert b"http:" not in headers[b"content-security-policy"]
    assert b"microphone=()" in headers[b"permissions-policy"]
    assert headers[b"referrer-policy"] == b"no-referrer" and body["body"] == b"hello"


@pytest.mark.parametrize("host", [b"evil.example", b"127.0.0.1.evil.example:7860", b""])
def test_another_name_is_refused(host: bytes) -> None:
    assert (
        ask(SecurityMiddleware(hello, frozenset({"127.0.0.1"})), scope_of("http", [(b"host", host)]))[0][
            "status"
        ]
        == 403
    )
    served = ask(SecurityMiddleware(hello, frozenset()), scope_of("http", [(b"host", host)]))
    assert served[0]["status"] == 200


def test_a_socket_from_another_site_is_refused() -> None:
    app = SecurityMiddleware(hello, frozenset({"127.0.0.1"}))
    own = [*HEADERS, (b"origin", b"http://127.0.0.1:7860")]
    other = [*HEADERS, (b"origin", b"http://evil.example")]
    assert ask(app, scope_of("websocket", own))[0]["type"] == "websocket.accept"
    assert ask(app, scope_of("websocket", other)) == [{"type": "websocket.close", "code": 1008}]


def test_each_upload_gets_a_room_of_its_own() -> None:
    rooms = TempFileStore()

    async def upload(scope: Any, receive: Any, send: Any) -> None:
        path = rooms.root / "sum" / "talk.mp4"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"video")
        body = json.dumps([str(path)]).encode()
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": body})

    app = PrivateUploadsMiddleware(upload, rooms)
    paths = []
    for _ in range(2):
        start, body = ask(app, scope_of("http", HEADERS, "/gradio_api/upload"))
        assert dict(start["headers"])[b"content-length"] == str(len(body["body"])).encode()
        paths += [Path(p) for p in json.loads(body["body"])]
    assert paths[0] != paths[1] and all(p.read_bytes() == b"video" for p in paths)
    assert not (rooms.root / "sum").exists()
    rooms.close()


def test_a_refused_upload_is_passed_on() -> None:
    async def upload(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 413, "headers": []})
        await send({"type": "http.response.body", "body": b"too large"})

    rooms = TempFileStore()
    assert (
        ask(PrivateUploadsMiddleware(upload, rooms), scope_of("http", HEADERS, "/upload"))[0]["status"] == 413
    )
    rooms.close()
