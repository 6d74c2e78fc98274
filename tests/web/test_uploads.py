"""The upload endpoint (lip2speech/web/uploads.py)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from fastapi.testclient import TestClient

from lip2speech.web.storage import TempFileStore
from lip2speech.web.uploads import LOGIN_CHECK_PATH, MULTIPART_OVERHEAD, UPLOAD_PATH, safe_name, upload_route

MAX_BYTES = 1000


@pytest.fixture
def storage() -> Iterator[TempFileStore]:
    store = TempFileStore()
    yield store
    store.close()


@pytest.fixture
def client(storage: TempFileStore) -> TestClient:
    """The endpoint beside a login check that wants a cookie."""
    app = FastAPI()
    app.router.routes.append(upload_route(app, storage, MAX_BYTES))

    @app.get(LOGIN_CHECK_PATH)
    def check(request: Request) -> Response:
        return JSONResponse({}, 200 if request.cookies.get("session") == "ann" else 401)

    return TestClient(app, cookies={"session": "ann"})


def test_equal_uploads_are_separate_files(client: TestClient, storage: TempFileStore) -> None:
    paths = []
    for _ in range(2):
        answer = client.post(UPLOAD_PATH, files={"files": ("talk.mp4", b"video")})
        assert answer.status_code == 200
        paths += [Path(path) for path in answer.json()]
    assert paths[0] != paths[1]
    storage.delete(paths[0])
    assert paths[1].read_bytes() == b"video"
    assert paths[1].name == "talk.mp4"


def test_several_files_are_uploaded_in_order(client: TestClient) -> None:
    files = [("files", (f"{name}.wav", name.encode())) for name in "ab"]
    paths = [Path(path) for path in client.post(UPLOAD_PATH, files=files).json()]
    assert [path.read_bytes() for path in paths] == [b"a", b"b"]


def test_an_upload_without_login_is_rejected(client: TestClient, storage: TempFileStore) -> None:
    client.cookies.clear()
    assert client.post(UPLOAD_PATH, files={"files": ("talk.mp4", b"video")}).status_code == 401
    assert not list(storage.root.iterdir())


def test_an_upload_beyond_the_limit_is_rejected_and_leaves_nothing(
    client: TestClient, storage: TempFileStore
) -> None:
    answer = client.post(UPLOAD_PATH, files={"files": ("talk.mp4", bytes(MAX_BYTES + MULTIPART_OVERHEAD))})
    assert answer.status_code == 413
    assert "exceeds the maximum allowed size" in answer.text
    assert not list(storage.root.iterdir())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("talk.mp4", "talk.mp4"),
        ("../../etc/passwd", "passwd"),
        ("C:\\me\\talk 1.mp4", "talk 1.mp4"),
        ("話す.mp4", "話す.mp4"),
        ("..", "file"),
        ("", "file"),
        ("x" * 300 + ".mp4", "x" * 56 + ".mp4"),
    ],
)
def test_names_are_sanitised(name: str, expected: str) -> None:
    assert safe_name(name) == expected
