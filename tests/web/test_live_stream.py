"""A conversation over the socket: pictures in, sound out, in order; and who may begin one."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lip2speech import Lip2Speech
from lip2speech.evaluation.asr.pocketsphinx import PocketSphinxASR
from lip2speech.video import read_frames
from lip2speech.web.live_stream import (
    FIRST,
    STAMP,
    LiveServer,
    LiveSession,
    SessionRequest,
    SessionTokens,
    check_packet,
    read_jpeg,
)


@pytest.fixture(scope="module")
def speech() -> Lip2Speech:
    return Lip2Speech.from_pretrained("live")


def packets(clip: Path, count: int) -> list[bytes]:
    """The first frames of a video as the browser sends them."""
    made = []
    with read_frames(clip) as frames:
        for number, frame in enumerate(frames):
            if number == count:
                break
            file = io.BytesIO()
            Image.fromarray(frame).save(file, "JPEG", quality=90)
            made.append(STAMP.pack(number / 25) + file.getvalue())
    return made


def test_sound_follows_without_a_hole(speech: Lip2Speech, clip: Path) -> None:
    conversation = LiveSession(speech, SessionRequest(speech.speaker_embedding(None), "keep", 0.0))
    end, told = 0, []
    for packet in packets(clip, 50):
        sound, line = conversation.step(packet)
        told += [json.loads(line)] if line else []
        if sound:
            (first,) = FIRST.unpack_from(sound)
            assert first == end
            end += (len(sound) - FIRST.size) // 2
    assert end / 16000 > 50 / 25 - conversation.stream.latency_s - 0.01
    assert len(told) == 10 and told[-1]["face"] and told[-1]["crop"]
    assert all(0 <= value <= 1 for value in told[-1]["box"])


def test_the_sample_is_understood(speech: Lip2Speech, clip: Path, clip_text: str) -> None:
    conversation = LiveSession(speech, SessionRequest(speech.speaker_embedding(None), "keep", 0.0))
    assert conversation.stream.latency_s < 0.3
    heard = b""
    for packet in packets(clip, 1000):
        heard += conversation.step(packet)[0][FIRST.size :]
    conversation.stream.finish()
    heard += conversation.pack(conversation.stream.pull())[FIRST.size :]
    wav = torch.from_numpy(np.frombuffer(heard, "<i2").astype(np.float32) / 32768)
    words = PocketSphinxASR().transcribe(wav).split()
    assert sum(a == b for a, b in zip(words, clip_text.split(), strict=True)) >= 5


def test_a_ticket_is_good_once(speech: Lip2Speech) -> None:
    tickets = SessionTokens()
    ticket = tickets.give(speech.speaker_embedding(None), "keep")
    assert tickets.take("another") is None
    assert tickets.take(ticket) is not None and tickets.take(ticket) is None


def test_an_old_ticket_is_good_no_more(speech: Lip2Speech) -> None:
    tickets = SessionTokens()
    tickets.held["old"] = SessionRequest(speech.speaker_embedding(None), "keep", time.monotonic() - 1)
    assert tickets.take("old") is None
    tickets.held["old"] = SessionRequest(speech.speaker_embedding(None), "keep", time.monotonic() - 1)
    tickets.give(speech.speaker_embedding(None), "keep")
    assert "old" not in tickets.held


@pytest.mark.parametrize("packet", [b"", b"12345678", bytes(1 << 20)])
def test_a_packet_has_a_time_and_a_picture(packet: bytes) -> None:
    with pytest.raises(ValueError, match="a frame must be 8 bytes of time and a JPEG"):
        check_packet(packet)


def test_only_a_small_jpeg_is_read() -> None:
    png, wide = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (8, 8)).save(png, "PNG")
    Image.new("RGB", (4000, 8)).save(wide, "JPEG")
    for data in (b"no picture", png.getvalue()):
        with pytest.raises(ValueError, match="a frame must be a JPEG picture"):
            read_jpeg(data)
    with pytest.raises(ValueError, match="at most 1280 pixels wide and high"):
        read_jpeg(wide.getvalue())


def test_the_socket_asks_for_a_ticket_and_has_few_places(speech: Lip2Speech, clip: Path) -> None:
    from starlette.applications import Starlette
    from starlette.routing import WebSocketRoute
    from starlette.testclient import TestClient
    from starlette.websockets import WebSocketDisconnect

    booth = LiveServer(speech, places=1)
    client = TestClient(Starlette(routes=[WebSocketRoute("/live", booth.serve)]))
    with pytest.raises(WebSocketDisconnect) as refused, client.websocket_connect("/live?ticket=none"):
        pass
    assert refused.value.code == 1008

    def ticket() -> str:
        return booth.tickets.give(speech.speaker_embedding(None), "keep")

    with client.websocket_connect(f"/live?ticket={ticket()}") as socket:
        with pytest.raises(WebSocketDisconnect) as busy, client.websocket_connect(f"/live?ticket={ticket()}"):
            pass
        assert busy.value.code == 1013
        for packet in packets(clip, 30):
            socket.send_bytes(packet)
        heard = b""
        while not heard:
            message = socket.receive()
            heard = message.get("bytes") or b""
        assert FIRST.unpack_from(heard) == (0,) and len(heard) > FIRST.size + 2 * 640
        socket.send_bytes(STAMP.pack(9.0) + b"no picture")
        while (message := socket.receive())["type"] != "websocket.close":
            pass
        assert message["code"] == 1003
    for _ in range(100):
        if booth.taken == 0:
            break
        time.sleep(0.05)
    assert booth.taken == 0
