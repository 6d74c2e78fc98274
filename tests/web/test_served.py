"""The page as programs see it: people at once, limits, refusals, who is let in, what is left at the end."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from lip2speech import Lip2Speech
from lip2speech.audio.io import read_wav
from tests.test_readme import BLOCKS
from tests.web.conftest import ROOT, Served, serve

KEPT = {"speech.wav", "speech.mp4", "spectrogram.png", "voice.wav"}


def call(url: str, video: Path, **options: Any) -> Any:
    """What a program gets for a video."""
    from gradio_client import Client, handle_file

    client = Client(url, verbose=False, **options)
    return client.predict(handle_file(str(video)), None, "keep", api_name="/lip2speech")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> list[Path]:
    """The sample, the sample with its last second cut off, and the first once more under its own name."""
    import av

    short = tmp_path_factory.mktemp("videos") / "short.mp4"
    with av.open(str(clip)) as source, av.open(str(short), "w") as sink:
        stream = sink.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.pts is not None and packet.pts * packet.time_base < 1.6:
                packet.stream = stream
                sink.mux(packet)
    return [clip, short, clip]


def test_people_at_once_get_their_own_speech(served: Served, videos: list[Path]) -> None:
    speech = Lip2Speech.from_pretrained()
    expected = [speech.convert(video).wav for video in videos[:2]]
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda video: call(served.url, video), videos))
    for answer, wav in zip(answers, [*expected, expected[0]], strict=True):
        assert wav is not None
        own = read_wav(answer[0])
        assert own.shape == wav.shape and torch.corrcoef(torch.stack([own, wav]))[0, 1] > 0.98
        assert answer[4]["model"] == "default" and answer[4]["frames"] == len(wav) // 640
    assert {path.name for path in served.files()} <= KEPT  # no upload is left


@pytest.mark.parametrize("name", ["notes.mp4", "sound.mp4"])
def test_what_is_no_video_is_refused_in_one_sentence(served: Served, tmp_path: Path, name: str) -> None:
    from gradio_client.exceptions import AppError

    path = tmp_path / name
    path.write_bytes(
        b"these are only words" * 10 if name == "notes.mp4" else b"\0\0\0\x18ftypmp42" + bytes(99)
    )
    with pytest.raises(AppError) as refused:
        call(served.url, path)
    line = str(refused.value)
    assert "cannot be read as a video" in line and "/" not in line and "\n" not in line
    assert not [p for p in served.files() if p.name == name]


def test_a_long_video_is_refused_before_it_is_decoded(served: Served, tmp_path: Path, clip: Path) -> None:
    import av
    from gradio_client.exceptions import AppError

    path = tmp_path / "long.mp4"
    with av.open(str(clip)) as source, av.open(str(path), "w") as sink:
        stream = sink.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.pts is not None:
                packet.stream, packet.pts, packet.dts = stream, packet.pts * 20, packet.dts * 20
                sink.mux(packet)
    with pytest.raises(AppError, match="at most 20 s are taken here"):
        call(served.url, path)


def test_a_large_file_is_refused(served: Served, tmp_path: Path) -> None:
    path = tmp_path / "large.mp4"
    path.write_bytes(bytes(6 << 20))
    with pytest.raises(Exception, match=r"413|maximum allowed size|exceeds"):
        call(served.url, path)
    assert {p.name for p in served.files()} <= KEPT  # nor any part of it


@pytest.mark.parametrize("address", ["/etc/passwd", "pyproject.toml", "http://127.0.0.1:1/x"])
def test_files_of_the_machine_are_not_served(served: Served, address: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{served.url}gradio_api/file={address}", timeout=30)
    assert refused.value.code in (403, 404)


def test_another_host_name_is_refused(served: Served) -> None:
    request = urllib.request.Request(served.url, headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=30)


def test_others_must_log_in_and_nothing_is_left_at_the_end(tmp_path: Path, clip: Path) -> None:
    users = tmp_path / "users.txt"
    users.write_text("ann:long enough\n")
    page = serve(tmp_path, "--users", str(users))
    try:
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{page.url}config", timeout=30)
        answer = call(page.url, clip, auth=("ann", "long enough"))
        assert Path(answer[0]).stat().st_size > 10_000 and page.files()
    finally:
        page.stop()
    assert not list(page.temporary.glob("lip2speech-*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "0.0.0.0"], "others could reach the page; give --users FILE"),
        (["--users", "users.txt"], "line 1 must be NAME:PASSWORD, the password 8 characters or more"),
        (["--model", "nowhere"], "nowhere"),
    ],
)
def test_a_wrong_start_is_one_line(tmp_path: Path, options: list[str], message: str) -> None:
    (tmp_path / "users.txt").write_text("ann:short\n")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-m", "lip2speech.web.app", *options],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    lines = [line for line in ended.stderr.splitlines() if "Warning" not in line and "warn(" not in line]
    assert ended.returncode != 0 and len(lines) == 1 and message in lines[0]


def test_the_readme_serves_the_page_by_its_command() -> None:
    (block,) = [block for block in BLOCKS if block.tag == "serves" and block.language == "bash"]
    assert block.commands() == [
        ["pip", "install", "-e", ".[lip2speech.web]"],
        ["python", "-m", "lip2speech.web.app"],
    ]


def test_the_readme_s_program_gets_its_speech(served: Served, capsys: pytest.CaptureFixture) -> None:
    (block,) = [block for block in BLOCKS if block.tag == "serves" and block.language == "python"]
    exec(block.text.replace("http://127.0.0.1:7860", served.url), {})
    assert "speech.wav 2." in capsys.readouterr().out
