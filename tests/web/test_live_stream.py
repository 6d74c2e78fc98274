"""Live sessions: frames in, audio out, in order; and who may start one (lip2speech/web/live_stream.py)."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from lip2speech.evaluation.asr.pocketsphinx import PocketSphinxASR
from lip2speech.pipeline import Lip2Speech
from lip2speech.video import read_frames
from lip2speech.web.live_stream import (
    SAMPLE_INDEX_FORMAT,
    TIMESTAMP_FORMAT,
    LiveServer,
    LiveSession,
    SessionRequest,
    SessionTokens,
    decode_jpeg,
    validate_packet,
)


@pytest.fixture(scope="module")
def model() -> Lip2Speech:
    return Lip2Speech.from_pretrained("live")


@pytest.fixture
def session(model: Lip2Speech) -> LiveSession:
    return LiveSession(model, SessionRequest(model.speaker_embedding(None), "keep", 0.0))


@pytest.fixture
def server(model: Lip2Speech) -> LiveServer:
    return LiveServer(model, max_sessions=1)


@pytest.fixture
def connect(server: LiveServer) -> Callable[[str], Any]:
    client = TestClient(Starlette(routes=[WebSocketRoute("/live", server.serve)]))
    return lambda token: client.websocket_connect(f"/live?token={token}")


def issue(server: LiveServer) -> str:
    return server.tokens.issue(server.model.speaker_embedding(None), "keep")


def close_code(socket: Any) -> int:
    """The code with which the server closes a socket; messages before it are skipped."""
    while (message := socket.receive())["type"] != "websocket.close":
        pass
    return int(message["code"])


def wait_until_idle(server: LiveServer) -> None:
    for _ in range(100):
        if server.n_active == 0:
            return
        time.sleep(0.05)
    pytest.fail("the session did not end")


def packets(clip: Path, count: int) -> list[bytes]:
    """The first frames of a video as the browser sends them."""
    made = []
    with read_frames(clip) as frames:
        for number, frame in enumerate(frames):
            if number == count:
                break
            file = io.BytesIO()
            Image.fromarray(frame).save(file, "JPEG", quality=90)
            made.append(TIMESTAMP_FORMAT.pack(number / 25) + file.getvalue())
    return made


def test_audio_packets_are_contiguous(session: LiveSession, clip: Path) -> None:
    end, statuses = 0, []
    for packet in packets(clip, 50):
        audio, status = session.process(packet)
        statuses += [json.loads(status)] if status else []
        if audio:
            assert SAMPLE_INDEX_FORMAT.unpack_from(audio) == (end,)
            end += (len(audio) - SAMPLE_INDEX_FORMAT.size) // 2
    assert end / 16000 > 50 / 25 - session.stream.latency_s - 0.01
    assert len(statuses) == 10
    assert statuses[-1]["face_detected"]
    assert statuses[-1]["mouth_crop"]
    assert all(0 <= value <= 1 for value in statuses[-1]["face_box"])


def test_the_sample_is_intelligible(session: LiveSession, clip: Path, clip_text: str) -> None:
    assert session.stream.latency_s < 0.3
    pcm = b""
    for packet in packets(clip, 1000):
        pcm += session.process(packet)[0][SAMPLE_INDEX_FORMAT.size :]
    session.stream.finish()
    pcm += session.encode_pcm(session.stream.pull())[SAMPLE_INDEX_FORMAT.size :]
    wav = torch.from_numpy(np.frombuffer(pcm, "<i2").astype(np.float32) / 32768)
    words = PocketSphinxASR().transcribe(wav).split()
    assert sum(a == b for a, b in zip(words, clip_text.split(), strict=True)) >= 5


def test_a_token_is_valid_once(model: Lip2Speech) -> None:
    tokens = SessionTokens()
    token = tokens.issue(model.speaker_embedding(None), "keep")
    assert tokens.redeem("another") is None
    assert tokens.redeem(token) is not None
    assert tokens.redeem(token) is None


def test_an_expired_token_is_invalid_and_forgotten(model: Lip2Speech) -> None:
    expired = SessionRequest(model.speaker_embedding(None), "keep", time.monotonic() - 1)
    tokens = SessionTokens({"old": expired})
    assert tokens.redeem("old") is None
    tokens = SessionTokens({"old": expired})
    tokens.issue(model.speaker_embedding(None), "keep")
    assert "old" not in tokens.pending


@pytest.mark.parametrize("packet", [b"", b"12345678", bytes(1 << 20)])
def test_a_packet_without_an_image_or_too_large_is_rejected(packet: bytes) -> None:
    with pytest.raises(ValueError, match="a packet must be an 8-byte timestamp and a JPEG"):
        validate_packet(packet)


def test_only_small_jpeg_images_are_decoded() -> None:
    png, wide = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (8, 8)).save(png, "PNG")
    Image.new("RGB", (4000, 8)).save(wide, "JPEG")
    for data in (b"no image", png.getvalue()):
        with pytest.raises(ValueError, match="a frame must be a JPEG image"):
            decode_jpeg(data)
    with pytest.raises(ValueError, match="at most 1280 pixels wide and high"):
        decode_jpeg(wide.getvalue())


def test_a_socket_without_a_token_is_closed(connect: Callable[[str], Any]) -> None:
    with pytest.raises(WebSocketDisconnect) as rejected, connect("none"):
        pass
    assert rejected.value.code == 1008


def test_sessions_beyond_the_limit_are_closed_with_try_again_later(
    server: LiveServer, connect: Callable[[str], Any]
) -> None:
    with connect(issue(server)):
        with connect(issue(server)) as second:
            assert close_code(second) == 1013
        assert server.n_active == 1
    wait_until_idle(server)


def test_frames_are_answered_with_audio_and_malformed_ones_close_the_socket(
    server: LiveServer, connect: Callable[[str], Any], clip: Path
) -> None:
    with connect(issue(server)) as socket:
        for packet in packets(clip, 30):
            socket.send_bytes(packet)
        audio = b""
        while not audio:
            audio = socket.receive().get("bytes") or b""
        assert SAMPLE_INDEX_FORMAT.unpack_from(audio) == (0,)
        assert len(audio) > SAMPLE_INDEX_FORMAT.size + 2 * 640
        socket.send_bytes(TIMESTAMP_FORMAT.pack(9.0) + b"no image")
        assert close_code(socket) == 1003
    wait_until_idle(server)


def test_a_text_message_closes_the_socket(server: LiveServer, connect: Callable[[str], Any]) -> None:
    with connect(issue(server)) as socket:
        socket.send_text("hello")
        assert close_code(socket) == 1003
    wait_until_idle(server)
