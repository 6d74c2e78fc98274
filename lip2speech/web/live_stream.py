"""Speaking live: pictures come in over a WebSocket, sound goes back.

    browser -> text    {"voice": ..., "unsure": ...}                          once
    browser -> bytes   float64 seconds | JPEG                                 each camera frame
    browser <- bytes   int64 first sample | int16 samples at 16 kHz           as soon as they are settled
    browser <- text    {"face", "box", "crop", "sure", "compute_ms", ...}     five times a second

Frames that pile up are dropped, oldest first: late speech helps nobody. Each person has a `Stream` and a
thread of their own, and a ticket that only the page could have given them.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import secrets
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from fastapi import WebSocket, WebSocketDisconnect
from torch import Tensor

from lip2speech import Lip2Speech
from lip2speech.audio.crossfade import LowConfidenceMode
from lip2speech.streaming import Stream, StreamConfig
from lip2speech.synthesis import SynthesisOptions

MAX_BYTES = 1 << 19
MAX_SIDE = 1280
WAITING = 25  # frames, one second
TELL_EVERY = 5  # frames
HOP = 8  # frames from window to window: a model without a live form is then computed at half the cost
IDLE_S = 20.0
LONGEST_S = 1800.0
TICKET_S = 60.0
STAMP = struct.Struct("<d")
FIRST = struct.Struct("<q")
PEAK = 32767
SETTINGS = StreamConfig(hop=HOP)


@dataclass(frozen=True)
class SessionRequest:
    """What a ticket was given for."""

    voice: Tensor
    unsure: LowConfidenceMode
    until: float


@dataclass
class SessionTokens:
    """Right to speak live, once, given by the page to whoever is let in there."""

    held: dict[str, SessionRequest] = field(default_factory=dict)

    def give(self, voice: Tensor, unsure: LowConfidenceMode) -> str:
        """A ticket for one conversation that begins within a minute."""
        now = time.monotonic()
        self.held = {key: wish for key, wish in self.held.items() if wish.until > now}
        ticket = secrets.token_urlsafe(24)
        self.held[ticket] = SessionRequest(voice, unsure, now + TICKET_S)
        return ticket

    def take(self, ticket: str) -> SessionRequest | None:
        """What the ticket stands for, once."""
        wish = self.held.pop(ticket, None)
        return wish if wish and wish.until > time.monotonic() else None


class LiveSession:
    """One person's pictures and sound. `step` runs in this person's thread."""

    def __init__(self, speech: Lip2Speech, wish: SessionRequest):
        self.stream = Stream(speech, SynthesisOptions(wish.voice, low_confidence=wish.unsure), SETTINGS)
        self.said = 0
        self.frames = 0
        self.dropped = 0

    def step(self, packet: bytes) -> tuple[bytes, str | None]:
        """One camera frame -> the samples that are settled, and every now and then how it goes."""
        began = time.perf_counter()
        (when,) = STAMP.unpack_from(packet)
        frame = read_jpeg(packet[STAMP.size :])
        self.stream.push(frame, when)
        sound = self.pack(self.stream.pull())
        self.frames += 1
        if self.frames % TELL_EVERY:
            return sound, None
        return sound, json.dumps(self.tell(frame) | {"compute_ms": 1000 * (time.perf_counter() - began)})

    def pack(self, wav: np.ndarray) -> bytes:
        """(n,) float32 -> bytes for the browser, none for none."""
        if not len(wav):
            return b""
        first, self.said = self.said, self.said + len(wav)
        return FIRST.pack(first) + (wav.clip(-1, 1) * PEAK).round().astype("<i2").tobytes()

    def tell(self, frame: np.ndarray) -> dict[str, Any]:
        """What the page shows beside the picture."""
        status, box = self.stream.stats, self.stream.face_box
        height, width = frame.shape[:2]
        return {
            "face": status.face_detected,
            "box": None
            if box is None
            else [round(v / s, 4) for v, s in zip(box, (width, height) * 2, strict=True)],
            "crop": None if self.stream.crop is None else jpeg_of(self.stream.crop),
            "sure": status.confidence,
            "latency_s": self.stream.latency_s,
            "dropped": self.dropped,
        }


class LiveServer:
    """Where people speak live, at most `places` at once."""

    def __init__(self, speech: Lip2Speech, places: int):
        self.speech, self.places = speech, places
        self.tickets = SessionTokens()
        self.taken = 0

    def warm_up(self) -> None:
        """Load what the first conversation would otherwise wait for."""
        Stream(self.speech, config=SETTINGS)

    async def serve(self, socket: WebSocket) -> None:
        """One conversation, from ticket to goodbye."""
        wish = self.tickets.take(socket.query_params.get("ticket", ""))
        if wish is None or self.taken >= self.places:
            await socket.close(1008 if wish is None else 1013)
            return
        self.taken += 1
        await socket.accept()
        with ThreadPoolExecutor(1) as thread:  # the face networks belong to a thread
            try:
                await asyncio.wait_for(self.talk(socket, wish, thread), LONGEST_S)
            except (WebSocketDisconnect, TimeoutError):
                pass  # who left, or said nothing for long, is owed no answer
            except ValueError as error:  # not a picture, or not one we take
                await close(socket, 1003, str(error))
            finally:
                self.taken -= 1
        await close(socket, 1000, "")

    async def talk(self, socket: WebSocket, wish: SessionRequest, thread: ThreadPoolExecutor) -> None:
        """Frames are read while others are worked on; the oldest goes when too many wait."""
        run = asyncio.get_running_loop().run_in_executor
        conversation = await run(thread, LiveSession, self.speech, wish)
        waiting: asyncio.Queue[bytes | None] = asyncio.Queue()

        async def read() -> None:
            try:
                while True:
                    waiting.put_nowait(check_packet(await asyncio.wait_for(socket.receive_bytes(), IDLE_S)))
                    if waiting.qsize() > WAITING:
                        waiting.get_nowait()
                        conversation.dropped += 1
            finally:
                waiting.put_nowait(None)

        reading = asyncio.create_task(read())
        try:
            while (packet := await waiting.get()) is not None:
                sound, told = await run(thread, conversation.step, packet)
                if sound:
                    await socket.send_bytes(sound)
                if told:
                    await socket.send_text(told)
            await reading
        finally:
            reading.cancel()


def check_packet(packet: bytes) -> bytes:
    """A time and a picture; ValueError for what is too small or too large."""
    if not STAMP.size < len(packet) <= MAX_BYTES:
        raise ValueError(f"a frame must be 8 bytes of time and a JPEG, {MAX_BYTES} bytes at most.")
    return packet


def read_jpeg(data: bytes) -> np.ndarray:
    """JPEG -> (H, W, 3) uint8; ValueError for anything else. The size is looked at before it is decoded."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:
            if max(picture.size) > MAX_SIDE:
                raise ValueError(
                    f"a frame must be at most {MAX_SIDE} pixels wide and high, got {picture.size}."
                )
            return np.asarray(picture.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError):
        raise ValueError("a frame must be a JPEG picture.") from None


def jpeg_of(gray: np.ndarray) -> str:
    """(H, W) uint8 -> base64 of a JPEG."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(gray).save(file, "JPEG", quality=80)
    return base64.b64encode(file.getvalue()).decode()


async def close(socket: WebSocket, code: int, why: str) -> None:
    """Say goodbye to a socket that may be gone already."""
    with suppress(RuntimeError):
        await socket.close(code, why[:120])
