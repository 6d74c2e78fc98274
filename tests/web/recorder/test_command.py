"""`lip2speech adapt record` in a process: one address, real validation, a clean shutdown."""

from __future__ import annotations

import builtins
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lip2speech.cli import app
from tests.web.recorder.conftest import videos

ROOT = Path(__file__).parents[3]


@pytest.fixture
def running(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int, str]]:
    """The process, its port, and the path of its page."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lip2speech", "adapt", "record", str(folder)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "GLOG_minloglevel": "3"},
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:(\d+)(/[\w-]{22}/)", line)
    assert found, line
    yield process, int(found[1]), found[2]
    process.kill()
    process.communicate()


def put(port: int, path: str, body: bytes) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("PUT", path, body, {"Origin": f"http://127.0.0.1:{port}"})
    answer = connection.getresponse()
    return answer.status, answer.read()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_real_videos_are_validated_and_a_signal_ends_it_cleanly(
    running: tuple[subprocess.Popen[str], int, str], folder: Path, clip: Path, number: signal.Signals
) -> None:
    process, port, path = running
    assert put(port, f"{path}recordings/001", clip.read_bytes())[0] == 200
    status, answer = put(port, f"{path}recordings/002", clip.read_bytes()[:3000])
    assert status == 422
    assert b"unreadable" in answer
    with socket.create_connection(("127.0.0.1", port)) as slow:
        own = f"127.0.0.1:{port}"
        head = f"PUT {path}recordings/001 HTTP/1.1\r\nHost: {own}\r\nOrigin: http://{own}\r\n"
        slow.sendall(head.encode() + b"Content-Length: 9999\r\n\r\n" + clip.read_bytes()[:5000])
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == (128 + number if number == signal.SIGTERM else 0)
    assert f"1 of 3 prompts are recorded in {folder}" in output
    assert errors == ""
    assert videos(folder) == {"001.mp4": clip.read_bytes()}


def test_what_cannot_be_served_is_one_line_on_stderr(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        port = occupied.getsockname()[1]
        for arguments, message in (
            ([tmp_path / "none"], "none: no such folder"),
            ([tmp_path / "empty"], "no prompt 001.txt in it"),
            (
                [folder, "--port", port],
                f"127.0.0.1 port {port}: Address already in use; choose another with --port",
            ),
        ):
            result = CliRunner().invoke(app, ["adapt", "record", *map(str, arguments)])
            assert result.exit_code == 2
            assert message in result.stderr
            assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("missing", ["uvicorn", "starlette"])
def test_without_the_web_server_the_extra_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    real_import = builtins.__import__

    def import_without(name: str, *arguments: Any, **options: Any) -> Any:
        if name.split(".")[0] == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real_import(name, *arguments, **options)

    for module in [m for m in sys.modules if m.startswith("lip2speech.web")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(builtins, "__import__", import_without)
    result = CliRunner().invoke(app, ["adapt", "record", str(folder)])
    assert result.exit_code == 2
    assert "pip install 'lip2speech[demo]'" in result.stderr
    assert result.stderr.count("\n") == 1
