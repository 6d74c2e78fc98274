"""Host and origin checks, response headers, the file of users (lip2speech/web/security.py)."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lip2speech.web.security import (
    ASGIApp,
    Message,
    Receive,
    SecurityMiddleware,
    Send,
    demo_policy,
    read_auth_file,
)

OWN = [(b"host", b"127.0.0.1:7860")]
LOCAL = demo_policy(frozenset({"127.0.0.1"}))
ANY_HOST = demo_policy(frozenset())


def run(app: ASGIApp, scope: dict[str, Any]) -> list[Any]:
    """The messages that an application sends for one request."""
    sent: list[Any] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    with ThreadPoolExecutor(1) as thread:  # a browser test may have left an event loop in this one
        thread.submit(lambda: asyncio.run(app(scope, receive, send))).result()  # type: ignore[arg-type]
    return sent


async def hello(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"Referrer-Policy", b"origin")]})
    await send({"type": "http.response.body", "body": b"hello"})


def scope_of(kind: str, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    return {"type": kind, "path": "/", "headers": headers} | ({"method": "GET"} if kind == "http" else {})


def test_responses_restrict_resources_to_the_server_and_disable_the_microphone() -> None:
    start, body = run(SecurityMiddleware(hello, LOCAL), scope_of("http", OWN))
    headers = dict(start["headers"])
    assert len(headers) == len(start["headers"])
    assert b"default-src 'self'" in headers[b"content-security-policy"]
    assert b"http:" not in headers[b"content-security-policy"]
    assert b"microphone=()" in headers[b"permissions-policy"]
    assert headers[b"referrer-policy"] == b"no-referrer"
    assert body["body"] == b"hello"


@pytest.mark.parametrize("host", [b"evil.example", b"127.0.0.1.evil.example:7860", b"", b"[::1"])
def test_an_unknown_host_is_rejected_unless_any_is_allowed(host: bytes) -> None:
    scope = scope_of("http", [(b"host", host)])
    assert run(SecurityMiddleware(hello, LOCAL), scope)[0]["status"] == 403
    assert run(SecurityMiddleware(hello, ANY_HOST), scope)[0]["status"] == 200


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_requests_of_another_site_are_rejected(kind: str) -> None:
    app = SecurityMiddleware(hello, LOCAL)
    own = run(app, scope_of(kind, [*OWN, (b"origin", b"http://127.0.0.1:7860")]))[0]
    foreign = run(app, scope_of(kind, [*OWN, (b"origin", b"http://evil.example")]))[0]
    if kind == "http":
        assert (own["status"], foreign["status"]) == (200, 403)
    else:
        assert own == {"type": "websocket.accept"}
        assert foreign == {"type": "websocket.close", "code": 1008}


def test_the_pages_that_may_embed_the_demo_are_configurable() -> None:
    app = SecurityMiddleware(hello, demo_policy(frozenset(), "https://huggingface.co"))
    headers = dict(run(app, scope_of("http", OWN))[0]["headers"])
    assert b"frame-ancestors https://huggingface.co;" in headers[b"content-security-policy"]


def test_users_are_read_from_lines_of_name_and_password(tmp_path: Path) -> None:
    path = tmp_path / "users.txt"
    path.write_text("ann:long enough\n\n bob :with:colons\n")
    assert read_auth_file(path) == (("ann", "long enough"), ("bob", "with:colons"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ann:long enough\nbob:short", "line 2 must be NAME:PASSWORD with a password of 8 or more"),
        (":long enough", "line 1 must be NAME:PASSWORD"),
        ("\n", "users.txt: holds no users"),
    ],
)
def test_a_malformed_file_of_users_is_rejected(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "users.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_auth_file(tmp_path / "users.txt")
