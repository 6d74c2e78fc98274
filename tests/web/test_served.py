"""The demo as programs see it: concurrent users, limits, rejections, login, shutdown."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import torch

from lip2speech.audio.io import read_wav
from lip2speech.pipeline import Lip2Speech
from lip2speech.web.handlers import SAMPLE_VIDEO
from tests.test_readme import BLOCKS
from tests.web.conftest import ROOT, ServedDemo, serve

RESULTS = {"speech.wav", "speech.mp4", "spectrogram.png", "voice.wav"}


def call(url: str, video: Path, **options: Any) -> Any:
    """The answer of the API to a video."""
    from gradio_client import Client, handle_file

    client = Client(url, verbose=False, **options)
    return client.predict(handle_file(str(video)), None, "keep", api_name="/lip2speech")


def call_with_path(url: str, path: Path) -> str:
    """The event stream of the same call for a path on the server that was not uploaded."""
    value = {"path": str(path), "meta": {"_type": "gradio.FileData"}}
    address = f"{url}gradio_api/call/lip2speech"
    body = json.dumps({"data": [value, None, "keep"]}).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{address}/{event}", timeout=120) as answer:
        return str(answer.read().decode())


def remux(source_path: Path, path: Path, *, end_s: float = 1e9, stretch: int = 1) -> Path:
    """Copy the video stream up to `end_s`, with all times multiplied by `stretch`."""
    import av

    with av.open(str(source_path)) as source, av.open(str(path), "w") as sink:
        stream = sink.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.pts is not None and packet.pts * packet.time_base < end_s:
                packet.stream, packet.pts, packet.dts = stream, packet.pts * stretch, packet.dts * stretch
                sink.mux(packet)
    return path


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> list[Path]:
    """The sample, the sample without its last second, and the sample again under the same name."""
    return [clip, remux(clip, tmp_path_factory.mktemp("videos") / "short.mp4", end_s=1.6), clip]


def test_concurrent_users_get_their_own_speech_and_uploads_are_deleted(
    served: ServedDemo, videos: list[Path]
) -> None:
    model = Lip2Speech.from_pretrained()
    expected = [model.convert(video).wav for video in videos[:2]]
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda video: call(served.url, video), videos))
    for answer, wav in zip(answers, [*expected, expected[0]], strict=True):
        assert wav is not None
        own = read_wav(answer[0])
        assert own.shape == wav.shape
        assert torch.corrcoef(torch.stack([own, wav]))[0, 1] > 0.98
        assert answer[4]["model"] == "default"
        assert answer[4]["frames"] == len(wav) // 640
    assert {path.name for path in served.files()} <= RESULTS


@pytest.mark.parametrize(
    ("name", "content"),
    [("notes.mp4", b"these are only words" * 10), ("broken.mp4", b"\0\0\0\x18ftypmp42" + bytes(99))],
)
def test_a_file_that_is_not_a_video_is_rejected_in_one_sentence(
    served: ServedDemo, tmp_path: Path, name: str, content: bytes
) -> None:
    from gradio_client.exceptions import AppError

    (tmp_path / name).write_bytes(content)
    with pytest.raises(AppError, match="cannot be read as a video") as rejected:
        call(served.url, tmp_path / name)
    assert not set("/\n") & set(str(rejected.value))
    assert not [path for path in served.files() if path.name == name]


def test_a_long_video_is_rejected_before_it_is_decoded(
    served: ServedDemo, tmp_path: Path, clip: Path
) -> None:
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError, match="the limit is 20 s"):
        call(served.url, remux(clip, tmp_path / "long.mp4", stretch=20))


def test_a_large_file_is_rejected_and_leaves_nothing(served: ServedDemo, tmp_path: Path) -> None:
    path = tmp_path / "large.mp4"
    path.write_bytes(bytes(6 << 20))
    with pytest.raises(Exception, match=r"413|maximum allowed size|exceeds"):
        call(served.url, path)
    assert {p.name for p in served.files()} <= RESULTS


@pytest.mark.parametrize("address", ["/etc/passwd", "pyproject.toml", "http://127.0.0.1:1/x"])
def test_files_of_the_machine_are_not_served(served: ServedDemo, address: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as rejected:
        urllib.request.urlopen(f"{served.url}gradio_api/file={address}", timeout=30)
    assert rejected.value.code in (403, 404)


def test_a_path_that_was_not_uploaded_is_rejected_and_not_copied(
    served: ServedDemo, tmp_path: Path, clip: Path
) -> None:
    (tmp_path / "private.mp4").write_bytes(clip.read_bytes())
    assert "event: error" in call_with_path(served.url, tmp_path / "private.mp4")
    assert not [path for path in served.files() if path.name == "private.mp4"]


def test_the_bundled_example_can_be_converted_again_and_again(served: ServedDemo) -> None:
    for _ in range(2):
        assert "event: complete" in call_with_path(served.url, SAMPLE_VIDEO)
    assert SAMPLE_VIDEO.is_file()


def test_an_unknown_host_is_rejected(served: ServedDemo) -> None:
    request = urllib.request.Request(served.url, headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=30)


def test_login_is_required_and_nothing_is_left_after_the_shutdown(tmp_path: Path, clip: Path) -> None:
    users = tmp_path / "users.txt"
    users.write_text("ann:long enough\n")
    demo = serve(tmp_path, "--auth-file", str(users))
    try:
        for path in ("config", "gradio_api/upload"):
            data = b"" if path.endswith("upload") else None
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.urlopen(demo.url + path, data, timeout=30)
        answer = call(demo.url, clip, auth=("ann", "long enough"))
        assert Path(answer[0]).stat().st_size > 10_000
        assert demo.files()
    finally:
        demo.stop()
    assert not list(demo.temporary.glob("lip2speech-*"))


def test_an_open_page_does_not_delay_the_shutdown(tmp_path: Path) -> None:
    demo = serve(tmp_path)
    address = urlsplit(demo.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    connection.request("GET", "/gradio_api/heartbeat/abc")
    assert connection.getresponse().status == 200
    start = time.monotonic()
    output = demo.stop()
    assert time.monotonic() - start < 10
    assert demo.process.returncode == 143
    assert "Traceback" not in output
    assert not list(demo.temporary.glob("lip2speech-*"))
    connection.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "0.0.0.0"], "reachable from other computers; pass --auth-file FILE"),
        (["--auth-file", "users.txt"], "line 1 must be NAME:PASSWORD with a password of 8 or more"),
        (["--model", "nowhere"], "nowhere"),
    ],
)
def test_a_wrong_option_is_reported_in_one_line(tmp_path: Path, options: list[str], message: str) -> None:
    (tmp_path / "users.txt").write_text("ann:short\n")
    done = subprocess.run(
        [sys.executable, "-m", "lip2speech", "demo", *options],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    lines = [line for line in done.stderr.splitlines() if "Warning" not in line and "warn(" not in line]
    assert done.returncode != 0
    assert len(lines) == 1
    assert message in lines[0]


def test_the_documented_program_gets_its_speech(
    served: ServedDemo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = [
        block
        for block in BLOCKS
        if (block.page, block.tag, block.language) == ("page.md", "serves", "python")
    ]
    monkeypatch.chdir(ROOT)
    exec(block.text.replace("http://127.0.0.1:7860", served.url), {})
    assert "speech.wav 2." in capsys.readouterr().out
