"""Live synthesis over a WebSocket: camera frames in, audio out.

    browser -> bytes   float64 seconds | JPEG                                     every camera frame
    browser <- bytes   int64 index of the first sample | int16 samples at 16 kHz  as soon as available
    browser <- text    {"face_detected", "face_box", "mouth_crop", "confidence", ...}  at intervals

When frames arrive faster than they are processed, the oldest queued ones are dropped to bound the latency.
Every session has its own `Stream` and thread, and starts with a single-use token that the page issues.
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
import numpy.typing as npt
from starlette.websockets import WebSocket, WebSocketDisconnect
from torch import Tensor

from lip2speech.audio.crossfade import LowConfidenceMode
from lip2speech.pipeline import Lip2Speech
from lip2speech.streaming import Stream, StreamConfig
from lip2speech.synthesis import SynthesisOptions

MAX_PACKET_BYTES = 1 << 19
MAX_FRAME_SIDE = 1280
MAX_QUEUED_FRAMES = 25  # one second
STATUS_INTERVAL = 5  # frames
HOP_FRAMES = 8  # for models that are not causal; halves the computation of the default hop
IDLE_TIMEOUT_S = 20.0
MAX_SESSION_S = 1800.0
TOKEN_LIFETIME_S = 60.0
TIMESTAMP_FORMAT = struct.Struct("<d")
SAMPLE_INDEX_FORMAT = struct.Struct("<q")
PCM_PEAK = 32767
STREAM_CONFIG = StreamConfig(hop=HOP_FRAMES)
POLICY_VIOLATION, UNSUPPORTED_DATA, TRY_AGAIN_LATER, NORMAL_CLOSURE = 1008, 1003, 1013, 1000


@dataclass(frozen=True)
class SessionRequest:
    """What a token was issued for. expires_at: by `time.monotonic`."""

    voice: Tensor
    low_confidence: LowConfidenceMode
    expires_at: float


@dataclass
class SessionTokens:
    """Single-use permissions to start a live session, issued by the page to its users."""

    pending: dict[str, SessionRequest] = field(default_factory=dict)

    def issue(self, voice: Tensor, low_confidence: LowConfidenceMode) -> str:
        """A token for one session that starts within `TOKEN_LIFETIME_S`."""
        now = time.monotonic()
        self.pending = {token: request for token, request in self.pending.items() if request.expires_at > now}
        token = secrets.token_urlsafe(24)
        self.pending[token] = SessionRequest(voice, low_confidence, now + TOKEN_LIFETIME_S)
        return token

    def redeem(self, token: str) -> SessionRequest | None:
        """The request of a valid token, which becomes invalid."""
        request = self.pending.pop(token, None)
        return request if request and request.expires_at > time.monotonic() else None


class LiveSession:
    """The frames and audio of one user. `process` runs in the session's thread."""

    def __init__(self, model: Lip2Speech, request: SessionRequest):
        options = SynthesisOptions(request.voice, low_confidence=request.low_confidence)
        self.stream = Stream(model, options, STREAM_CONFIG)
        self.n_samples_sent = 0
        self.n_frames = 0
        self.n_dropped = 0

    def process(self, packet: bytes) -> tuple[bytes, str | None]:
        """One camera frame -> the available audio (may be empty) and, at intervals, a status message."""
        start = time.perf_counter()
        (timestamp,) = TIMESTAMP_FORMAT.unpack_from(packet)
        frame = decode_jpeg(packet[TIMESTAMP_FORMAT.size :])
        self.stream.push(frame, timestamp)
        audio = self.encode_pcm(self.stream.pull())
        self.n_frames += 1
        if self.n_frames % STATUS_INTERVAL:
            return audio, None
        status = self.status_message(frame) | {"compute_ms": 1000 * (time.perf_counter() - start)}
        return audio, json.dumps(status)

    def encode_pcm(self, wav: npt.NDArray[np.float32]) -> bytes:
        """(n,) float32 -> an audio packet; empty for no samples."""
        if not len(wav):
            return b""
        first, self.n_samples_sent = self.n_samples_sent, self.n_samples_sent + len(wav)
        return SAMPLE_INDEX_FORMAT.pack(first) + (wav.clip(-1, 1) * PCM_PEAK).round().astype("<i2").tobytes()

    def status_message(self, frame: npt.NDArray[np.uint8]) -> dict[str, Any]:
        """What the page shows beside the camera image. face_box: left, top, width, height in 0..1."""
        stats, box, crop = self.stream.stats, self.stream.face_box, self.stream.crop
        height, width = frame.shape[:2]
        sides = (width, height, width, height)
        return {
            "face_detected": stats.face_detected,
            "face_box": box and [round(value / side, 4) for value, side in zip(box, sides, strict=True)],
            "mouth_crop": None if crop is None else encode_jpeg(crop),
            "confidence": stats.confidence,
            "latency_s": self.stream.latency_s,
            "dropped_frames": self.n_dropped,
        }


class LiveServer:
    """Serves at most `max_sessions` live sessions at once."""

    def __init__(self, model: Lip2Speech, max_sessions: int):
        self.model, self.max_sessions = model, max_sessions
        self.tokens = SessionTokens()
        self.n_active = 0

    def warm_up(self) -> None:
        """Load the face networks before the first session needs them."""
        Stream(self.model, config=STREAM_CONFIG)

    async def serve(self, socket: WebSocket) -> None:
        """The WebSocket endpoint: one session."""
        request = self.tokens.redeem(socket.query_params.get("token", ""))
        if request is None:
            return await close(socket, POLICY_VIOLATION)
        await socket.accept()  # browsers do not see the close code of a socket that was never accepted
        if self.n_active >= self.max_sessions:
            return await close(socket, TRY_AGAIN_LATER)
        self.n_active += 1
        code, reason = NORMAL_CLOSURE, ""
        with ThreadPoolExecutor(1) as thread:  # MediaPipe's networks are bound to the thread that made them
            try:
                await asyncio.wait_for(self.run_session(socket, request, thread), MAX_SESSION_S)
            except (WebSocketDisconnect, TimeoutError):
                pass  # the client disconnected or was idle
            except ValueError as error:  # malformed packet
                code, reason = UNSUPPORTED_DATA, str(error)
            finally:
                self.n_active -= 1
        await close(socket, code, reason)

    async def run_session(
        self, socket: WebSocket, request: SessionRequest, thread: ThreadPoolExecutor
    ) -> None:
        """Receive frames while earlier ones are processed; drop the oldest when the queue is full."""
        run_in_thread = asyncio.get_running_loop().run_in_executor
        session = await run_in_thread(thread, LiveSession, self.model, request)
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()

        async def receive() -> None:
            try:
                while True:
                    queue.put_nowait(await asyncio.wait_for(receive_packet(socket), IDLE_TIMEOUT_S))
                    if queue.qsize() > MAX_QUEUED_FRAMES:
                        queue.get_nowait()
                        session.n_dropped += 1
            finally:
                queue.put_nowait(None)

        receiver = asyncio.create_task(receive())
        try:
            while (packet := await queue.get()) is not None:
                audio, status = await run_in_thread(thread, session.process, packet)
                if audio:
                    await socket.send_bytes(audio)
                if status:
                    await socket.send_text(status)
            await receiver
        finally:
            receiver.cancel()


async def receive_packet(socket: WebSocket) -> bytes:
    """The next packet. ValueError: a text message or a malformed packet."""
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", NORMAL_CLOSURE))
    return validate_packet(message.get("bytes") or b"")


def validate_packet(packet: bytes) -> bytes:
    """The packet itself. ValueError: shorter than a timestamp and an image, or too large."""
    if not TIMESTAMP_FORMAT.size < len(packet) <= MAX_PACKET_BYTES:
        raise ValueError(
            f"a packet must be an 8-byte timestamp and a JPEG, at most {MAX_PACKET_BYTES} bytes, "
            f"got {len(packet)} bytes."
        )
    return packet


def decode_jpeg(data: bytes) -> npt.NDArray[np.uint8]:
    """JPEG -> (H, W, 3) uint8. ValueError: another format, or larger than `MAX_FRAME_SIDE`."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            if max(image.size) > MAX_FRAME_SIDE:
                raise ValueError(
                    f"a frame must be at most {MAX_FRAME_SIDE} pixels wide and high, got {image.size}."
                )
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError):
        raise ValueError("a frame must be a JPEG image.") from None


def encode_jpeg(image: npt.NDArray[np.uint8]) -> str:
    """(H, W) uint8 -> base64 of a JPEG."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=80)
    return base64.b64encode(file.getvalue()).decode()


async def close(socket: WebSocket, code: int, reason: str = "") -> None:
    """Close a socket that the client may have closed already."""
    with suppress(RuntimeError, WebSocketDisconnect):
        await socket.close(code, reason[:120])
