"""Who may ask the page's server, and what it answers (lip2speech/web/recorder/server.py)."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lip2speech.web.recorder import MOST_BYTES, RecorderServer, RecordingSession
from tests.web.recorder.conftest import WEBM, videos


@pytest.fixture
def server(session: RecordingSession) -> Iterator[RecorderServer]:
    made = RecorderServer(session)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.close()


def ask(server: RecorderServer, method: str, path: str, body: bytes | None = None, **headers: str) -> Any:
    """Status, headers and body; as a page of the server's own asks, unless told otherwise."""
    own = f"127.0.0.1:{server.server_port}"
    sent = {"Host": own} | ({"Origin": f"http://{own}"} if method == "PUT" else {})
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        if body is not None and "Content-Length" not in sent:
            sent["Content-Length"] = str(len(body))
        for name, value in sent.items():
            if value:
                connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def put(server: RecorderServer, name: str, body: bytes = WEBM, **headers: str) -> tuple[int, str]:
    """Status, and why."""
    status, _, told = ask(server, "PUT", f"/{server.token}/takes/{name}", body, **headers)
    return status, json.loads(told)["why"] if told.startswith(b"{") else ""


def test_the_page_and_all_it_needs(server: RecorderServer) -> None:
    assert server.address == f"http://127.0.0.1:{server.server_port}/{server.token}/"
    for name, kind in (("", "text/html"), ("page.js", "text/javascript"), ("page.css", "text/css")):
        status, headers, body = ask(server, "GET", f"/{server.token}/{name}")
        assert status == 200 and headers["Content-Type"] == f"{kind}; charset=utf-8" and body
        assert b"://" not in body.replace(b"http://www.w3.org", b"")
    state = json.loads(ask(server, "GET", f"/{server.token}/state")[2])
    assert [p["text"] for p in state["prompts"]] == ["Bin blue", "set red", "lay white"]
    assert set(state["words"]) == {"en", "ja"} and state["most_bytes"] == MOST_BYTES


@pytest.mark.parametrize("path", ["{token}/", "{token}/nothing", "nothing"])
def test_every_answer_keeps_the_page_to_itself(server: RecorderServer, path: str) -> None:
    headers = ask(server, "GET", "/" + path.format(token=server.token))[1]
    assert "default-src 'none'; script-src 'self'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["Permissions-Policy"].startswith("camera=(self), microphone=()")
    assert headers["Cache-Control"] == "no-store" and headers["Server"] == "lip2speech"


def test_only_who_knows_the_address_is_served(server: RecorderServer, me: Path) -> None:
    wrong = "A" * len(server.token)
    near = (f"/{server.token}", f"/{server.token[:-1]}/", f"/x{server.token}/", "/%C3%A9/")
    for path in ("/", "/state", f"/{wrong}/", f"/{wrong}/state", *near):
        assert ask(server, "GET", path)[0] == 404
    assert ask(server, "PUT", f"/{wrong}/takes/001", WEBM)[0] == 404
    assert not videos(me) and len(server.token) >= 22


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "[::1", ""]
)
def test_another_name_for_this_computer_is_refused(server: RecorderServer, me: Path, host: str) -> None:
    host = host.format(port=server.server_port)
    assert ask(server, "GET", f"/{server.token}/state", Host=host)[0] == 403
    assert put(server, "001", Host=host, Origin=f"http://{host}")[0] == 403
    assert not videos(me)


def test_localhost_is_this_computer(server: RecorderServer) -> None:
    host = f"localhost:{server.server_port}"
    assert put(server, "001", Host=host, Origin=f"http://{host}") == (200, "kept")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://{own}", ""])
def test_only_our_own_page_sends_videos(server: RecorderServer, me: Path, origin: str) -> None:
    origin = origin.format(own=f"127.0.0.1:{server.server_port}")
    assert put(server, "001", Origin=origin)[0] == 403
    if origin:
        assert ask(server, "GET", f"/{server.token}/state", Origin=origin)[0] == 403
    assert not videos(me)


@pytest.mark.parametrize(
    ("name", "body", "headers", "answer"),
    [
        ("001", WEBM + b"video", {}, (200, "kept")),
        ("004", WEBM, {}, (404, "no_prompt")),
        ("..%2F001", WEBM, {}, (404, "no_prompt")),
        ("001", b"<html>", {}, (415, "not_video")),
        ("001", WEBM + b"dark", {}, (422, "no_face")),
        ("001", WEBM + b"full", {}, (507, "not_stored")),
        ("001", None, {"Content_Length": str(MOST_BYTES + 1)}, (413, "too_large")),
        ("001", None, {"Content_Length": "9" * 5000}, (413, "too_large")),
        ("001", None, {"Content_Length": "-1"}, (411, "no_length")),
        ("001", None, {"Transfer_Encoding": "chunked"}, (411, "no_length")),
    ],
)
def test_a_video_is_kept_or_the_answer_says_why(
    server: RecorderServer, me: Path, name: str, body: bytes | None, headers: dict[str, str], answer: tuple
) -> None:
    assert put(server, name, body, **headers) == answer  # type: ignore[arg-type]
    assert bool(videos(me)) == (answer[0] == 200)


def test_other_methods_and_places_are_refused(server: RecorderServer) -> None:
    assert ask(server, "POST", f"/{server.token}/takes/001", b"")[0] == 501
    assert ask(server, "PUT", f"/{server.token}/page.js", WEBM)[0] == 404
    assert ask(server, "GET", f"/{server.token}/words.yaml")[0] == 404


def test_a_folder_that_has_gone_is_told(server: RecorderServer, me: Path) -> None:
    me.rename(me.with_name("away"))
    assert ask(server, "GET", f"/{server.token}/state")[0] == 410
    assert put(server, "001") == (404, "no_prompt")


def test_who_breaks_off_changes_nothing_and_holds_nobody_up(server: RecorderServer, me: Path) -> None:
    put(server, "001", WEBM + b"dear")
    own = f"127.0.0.1:{server.server_port}"
    head = f"PUT /{server.token}/takes/001 HTTP/1.1\r\nHost: {own}\r\nOrigin: http://{own}\r\n"
    start = head.encode() + b"Content-Length: 99\r\n\r\n" + WEBM
    with socket.create_connection(("127.0.0.1", server.server_port)) as broken:
        broken.sendall(start)
    slow = socket.create_connection(("127.0.0.1", server.server_port))
    slow.sendall(start)
    idle = socket.create_connection(("127.0.0.1", server.server_port))
    assert put(server, "002") == (200, "kept")
    began = time.monotonic()
    server.shutdown()
    server.close()
    assert time.monotonic() - began < 5
    slow.close()
    idle.close()
    assert videos(me) == {"001.webm": WEBM + b"dear", "002.webm": WEBM}


def test_a_port_that_is_taken_is_one_line(server: RecorderServer, session: RecordingSession) -> None:
    with pytest.raises(ValueError, match=rf"port {server.server_port}: .*; give another with --port"):
        RecorderServer(session, server.server_port)
