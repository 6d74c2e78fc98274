"""Routes and server of the recorder (lip2speech/web/recorder/app.py)."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lip2speech.web.recorder import MAX_UPLOAD_BYTES, RecorderServer, RecordingSession
from tests.web.recorder.conftest import WEBM, serving, videos


@pytest.fixture
def server(session: RecordingSession) -> Iterator[RecorderServer]:
    with serving(session) as running:
        yield running


def request(
    server: RecorderServer, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer to a request of the page; empty headers are left out."""
    own = f"127.0.0.1:{server.port}"
    sent = {"Host": own} | ({"Origin": f"http://{own}"} if method == "PUT" else {})
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        if body is not None and "Content-Length" not in sent:
            sent["Content-Length"] = str(len(body))
        for name, value in sent.items():
            if value:
                connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def put(server: RecorderServer, name: str, body: bytes | None = WEBM, **headers: str) -> tuple[int, str]:
    """Status and reason."""
    status, _, answer = request(server, "PUT", f"/{server.token}/recordings/{name}", body, **headers)
    return status, json.loads(answer)["reason"] if answer.startswith(b"{") else ""


def test_the_page_and_its_files_are_served(server: RecorderServer) -> None:
    assert server.address == f"http://127.0.0.1:{server.port}/{server.token}/"
    for name, kind in (("", "text/html"), ("recorder.js", "text/javascript"), ("recorder.css", "text/css")):
        status, headers, body = request(server, "GET", f"/{server.token}/{name}")
        assert status == 200
        assert headers["content-type"] == f"{kind}; charset=utf-8"
        assert body
        assert b"://" not in body


def test_the_state_holds_prompts_limits_and_messages(server: RecorderServer) -> None:
    state = json.loads(request(server, "GET", f"/{server.token}/state")[2])
    assert [p["text"] for p in state["prompts"]] == ["Bin blue", "set red", "lay white"]
    assert set(state["messages"]) == {"en", "ja"}
    assert state["max_bytes"] == MAX_UPLOAD_BYTES


@pytest.mark.parametrize("path", ["{token}/", "{token}/nothing", "nothing"])
@pytest.mark.parametrize("host", ["{own}", "evil.example"])
def test_every_response_carries_the_security_headers(server: RecorderServer, path: str, host: str) -> None:
    host = host.format(own=f"127.0.0.1:{server.port}")
    headers = request(server, "GET", "/" + path.format(token=server.token), Host=host)[1]
    assert "default-src 'none'; script-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["permissions-policy"].startswith("camera=(self), microphone=()")
    assert headers["cache-control"] == "no-store"
    assert headers["server"] == "lip2speech"


def test_paths_without_the_secret_are_not_found(server: RecorderServer, folder: Path) -> None:
    wrong = "A" * len(server.token)
    near = (f"/{server.token}", f"/{server.token[:-1]}/", f"/x{server.token}/", "/%C3%A9/")
    for path in ("/", "/state", f"/{wrong}/", f"/{wrong}/state", *near):
        assert request(server, "GET", path)[0] == 404
    assert request(server, "PUT", f"/{wrong}/recordings/001", WEBM)[0] == 404
    assert not videos(folder)
    assert len(server.token) >= 22


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "[::1"])
def test_an_unknown_host_is_rejected(server: RecorderServer, folder: Path, host: str) -> None:
    host = host.format(port=server.port)
    assert request(server, "GET", f"/{server.token}/state", Host=host)[0] == 403
    assert put(server, "001", Host=host, Origin=f"http://{host}")[0] == 403
    assert not videos(folder)


def test_a_request_without_a_host_is_malformed(server: RecorderServer) -> None:
    assert request(server, "GET", f"/{server.token}/state", Host="")[0] == 400


def test_localhost_is_a_known_host(server: RecorderServer) -> None:
    host = f"localhost:{server.port}"
    assert put(server, "001", Host=host, Origin=f"http://{host}") == (200, "saved")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://{own}", ""])
def test_only_the_own_page_can_upload(server: RecorderServer, folder: Path, origin: str) -> None:
    origin = origin.format(own=f"127.0.0.1:{server.port}")
    assert put(server, "001", Origin=origin)[0] == 403
    if origin:
        assert request(server, "GET", f"/{server.token}/state", Origin=origin)[0] == 403
    assert not videos(folder)


@pytest.mark.parametrize(
    ("name", "body", "headers", "answer"),
    [
        ("001", WEBM + b"video", {}, (200, "saved")),
        ("004", WEBM, {}, (404, "no_prompt")),
        ("..%2F001", WEBM, {}, (404, "no_prompt")),
        ("001", b"<html>", {}, (415, "not_video")),
        ("001", WEBM + b"dark", {}, (422, "no_face")),
        ("001", WEBM + b"full", {}, (507, "write_failed")),
        ("001", None, {"Content_Length": str(MAX_UPLOAD_BYTES + 1)}, (413, "too_large")),
        ("001", None, {"Content_Length": "9" * 5000}, (400, "")),
        ("001", None, {"Content_Length": "-1"}, (400, "")),
        ("001", None, {"Transfer_Encoding": "chunked"}, (411, "no_length")),
    ],
)
def test_a_video_is_saved_or_the_answer_holds_the_reason(
    server: RecorderServer,
    folder: Path,
    name: str,
    body: bytes | None,
    headers: dict[str, str],
    answer: tuple[int, str],
) -> None:
    assert put(server, name, body, **headers) == answer
    assert bool(videos(folder)) == (answer[0] == 200)


def test_other_methods_and_paths_are_rejected(server: RecorderServer) -> None:
    assert request(server, "POST", f"/{server.token}/recordings/001", b"")[0] == 405
    assert request(server, "PUT", f"/{server.token}/recorder.js", WEBM)[0] == 405
    assert request(server, "GET", f"/{server.token}/i18n.yaml")[0] == 404
    assert request(server, "GET", f"/{server.token}/demo.css")[0] == 404


def test_a_deleted_folder_is_reported(server: RecorderServer, folder: Path) -> None:
    folder.rename(folder.with_name("away"))
    assert request(server, "GET", f"/{server.token}/state")[0] == 410
    assert put(server, "001") == (404, "no_prompt")


def test_an_interrupted_upload_changes_nothing_and_blocks_nobody(
    session: RecordingSession, folder: Path
) -> None:
    with serving(session) as server:
        put(server, "001", WEBM + b"first")
        own = f"127.0.0.1:{server.port}"
        head = f"PUT /{server.token}/recordings/001 HTTP/1.1\r\nHost: {own}\r\nOrigin: http://{own}\r\n"
        start = head.encode() + b"Content-Length: 99\r\n\r\n" + WEBM
        with socket.create_connection(("127.0.0.1", server.port)) as broken:
            broken.sendall(start)
        slow = socket.create_connection(("127.0.0.1", server.port))
        slow.sendall(start)
        idle = socket.create_connection(("127.0.0.1", server.port))
        assert put(server, "002") == (200, "saved")
        stopped = time.monotonic()
    assert time.monotonic() - stopped < 5
    slow.close()
    idle.close()
    assert videos(folder) == {"001.webm": WEBM + b"first", "002.webm": WEBM}


def test_an_occupied_port_is_reported(server: RecorderServer, session: RecordingSession) -> None:
    with pytest.raises(ValueError, match=rf"port {server.port}: .*; choose another with --port"):
        RecorderServer(session, server.port)
