"""ASGI middleware shared by the web demo and the recorder: host and origin checks, response headers.

Other sites open in the same browser can send requests to a server on the loopback address, also under a host
name of their own that resolves to it (DNS rebinding). Requests must therefore name a known host, and those
that carry an Origin header must come from the server's own page.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Message, Receive, Send], Awaitable[None]]

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
MIN_PASSWORD_LENGTH = 8


@dataclass(frozen=True)
class SecurityPolicy:
    """What requests must look like and which headers every response carries.

    Attributes:
        hosts: accepted host names without port; empty accepts any.
        headers: response headers, names in lower case; they replace those of the application.
        origin_schemes: accepted schemes of an Origin header.
        origin_required: HTTP methods that are rejected without an Origin header.
    """

    hosts: frozenset[str]
    headers: Mapping[str, str]
    origin_schemes: frozenset[str] = frozenset({"http", "https"})
    origin_required: frozenset[str] = frozenset()

    def allows(self, scope: Message) -> bool:
        """Whether a request may be answered."""
        values: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            values.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        hosts, origins = values.get("host", []), values.get("origin", [])
        if self.hosts and (len(hosts) != 1 or host_name(hosts[0]) not in self.hosts):
            return False
        if not origins:
            return scope.get("method") not in self.origin_required
        own = [f"{scheme}://{host}" for scheme in self.origin_schemes for host in hosts]
        return len(origins) == 1 and origins[0] in own


def demo_policy(hosts: frozenset[str], frame_ancestors: str = "'none'") -> SecurityPolicy:
    """Policy of the demo: resources come from the server only, and the microphone is disabled.

    Gradio needs inline scripts and `unsafe-eval`.

    Args:
        hosts: as in `SecurityPolicy`.
        frame_ancestors: CSP source list of the pages that may embed the demo.
    """
    content = (
        "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
        f"frame-ancestors {frame_ancestors}; form-action 'self'; base-uri 'self'"
    )
    headers = {
        "content-security-policy": content,
        "permissions-policy": "camera=(self), microphone=(), geolocation=()",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }
    return SecurityPolicy(hosts, headers)


class SecurityMiddleware:
    """Rejects requests that the policy does not allow and adds its headers to every response."""

    def __init__(self, app: ASGIApp, policy: SecurityPolicy):
        self.app, self.policy = app, policy

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                policy = self.policy.headers
                kept = [(k, v) for k, v in message["headers"] if k.decode("latin-1").lower() not in policy]
                message["headers"] = kept + [(k.encode(), v.encode()) for k, v in policy.items()]
            await send(message)

        if not self.policy.allows(scope):
            return await reject(scope, send_with_headers)
        await self.app(scope, receive, send_with_headers)


async def reject(scope: Message, send: Send) -> None:
    """Answer 403, or close a WebSocket."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"Unknown host or origin.\n"})


def host_name(host: str) -> str:
    """The lower-case name in a Host header, without port; empty if the header is malformed."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether a server bound to this address is reachable from this computer only."""
    return host in LOOPBACK_HOSTS


def read_auth_file(path: Path) -> tuple[tuple[str, str], ...]:
    """(name, password) pairs from a file with one NAME:PASSWORD per line.

    Raises:
        ValueError: a malformed line, a short password, or no user at all.
    """
    users = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        name, _, password = line.partition(":")
        if not name.strip() or len(password) < MIN_PASSWORD_LENGTH:
            raise ValueError(
                f"{path.name}: line {number} must be NAME:PASSWORD with a password of "
                f"{MIN_PASSWORD_LENGTH} or more characters."
            )
        users.append((name.strip(), password))
    if not users:
        raise ValueError(f"{path.name}: holds no users; write one NAME:PASSWORD per line.")
    return tuple(users)
