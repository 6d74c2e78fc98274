"""`lip2speech adapt record` as a person runs it: one address, real checks, a clean end."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lip2speech.cli import app
from tests.web.recorder.conftest import videos

ROOT = Path(__file__).parents[3]


@pytest.fixture
def running(me: Path) -> Iterator[tuple[subprocess.Popen, int, str]]:
    """The command in a process of its own, its port, and the path of its page."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lip2speech", "adapt", "record", str(me)],
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
def test_real_videos_are_judged_and_a_signal_ends_it_clean(
    running: tuple[subprocess.Popen, int, str], me: Path, clip: Path, number: signal.Signals
) -> None:
    process, port, path = running
    assert put(port, f"{path}takes/001", clip.read_bytes())[0] == 200
    status, why = put(port, f"{path}takes/002", clip.read_bytes()[:3000])
    assert status == 422 and b"unreadable" in why
    with socket.create_connection(("127.0.0.1", port)) as slow:
        head = (
            f"PUT {path}takes/001 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"
        )
        slow.sendall(head.encode() + b"Content-Length: 9999\r\n\r\n" + clip.read_bytes()[:5000])
        process.send_signal(number)
        said, error = process.communicate(timeout=60)
    assert process.returncode == (128 + number if number == signal.SIGTERM else 0)
    assert f"1 of 3 prompts are recorded in {me}" in said and "Traceback" not in error
    assert videos(me) == {"001.mp4": clip.read_bytes()}


def test_what_cannot_be_served_is_one_line(me: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for arguments, message in (
            ([tmp_path / "none"], "none: no such folder; make one with `lip2speech adapt prompts`"),
            ([tmp_path / "empty"], "no prompt 001.txt in it"),
            ([me, "--port", port], f"port {port}: Address already in use; give another with --port"),
        ):
            result = CliRunner().invoke(app, ["adapt", "record", *map(str, arguments)])
            assert result.exit_code == 2 and message in result.stderr and result.stderr.count("\n") == 1
