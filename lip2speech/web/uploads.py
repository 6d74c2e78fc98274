"""The upload endpoint of the demo: every file gets its own random directory.

Gradio's endpoint stores a file under the hash of its content. Equal files of two users would share one path,
and deleting it after the first use would break the second. This route is registered in front of Gradio's.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import httpx
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lip2speech.web.security import ASGIApp, Message, Receive
from lip2speech.web.storage import TempFileStore

UPLOAD_PATH = "/gradio_api/upload"
LOGIN_CHECK_PATH = "/gradio_api/login_check"
MAX_FILES = 20
MULTIPART_OVERHEAD = 1 << 16  # bytes of boundaries and headers
MAX_NAME_LENGTH = 60  # characters; at most 240 bytes in UTF-8


def upload_route(app: ASGIApp, storage: TempFileStore, max_bytes: int) -> Route:
    """POST multipart/form-data with `files` -> JSON list of their paths, as Gradio's own endpoint.

    Args:
        app: the application that serves Gradio; asked whether the user is logged in.
        storage: where the files are stored.
        max_bytes: limit of one request.
    """

    async def upload(request: Request) -> Response:
        if not await is_logged_in(app, request):
            return JSONResponse({"error": "Not authenticated"}, 401)
        limited = Request(request.scope, limit_body(request, max_bytes + MULTIPART_OVERHEAD))
        async with limited.form(max_files=MAX_FILES) as form:
            files = [file for file in form.getlist("files") if isinstance(file, UploadFile)]
            paths = [await run_in_threadpool(store, file, storage) for file in files]
        return JSONResponse([str(path) for path in paths])

    return Route(UPLOAD_PATH, upload, methods=["POST"])


async def is_logged_in(app: ASGIApp, request: Request) -> bool:
    """Whether Gradio accepts the cookies of a request."""
    transport = httpx.ASGITransport(app=app)
    headers = {name: request.headers[name] for name in ("host", "cookie") if name in request.headers}
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return (await client.get(LOGIN_CHECK_PATH, headers=headers)).status_code == 200


def limit_body(request: Request, max_bytes: int) -> Receive:
    """A `receive` that fails with 413 once the body exceeds `max_bytes`."""
    received = 0

    async def receive() -> Message:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received > max_bytes:
            raise HTTPException(413, "The upload exceeds the maximum allowed size.")
        return message

    return receive


def store(file: UploadFile, storage: TempFileStore) -> Path:
    """Copy an upload into a new directory under its own, sanitised name."""
    path = storage.create() / safe_name(file.filename or "")
    with path.open("xb") as target:
        shutil.copyfileobj(file.file, target)
    return path


def safe_name(name: str) -> str:
    """The last part of a client's file name, reduced to letters, digits and `._- `."""
    cleaned = re.sub(r"[^\w.\- ]", "", name.replace("\\", "/").rpartition("/")[2]).strip(". ")
    return cleaned[-MAX_NAME_LENGTH:] or "file"
