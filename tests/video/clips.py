"""Video files made at test time: every frame carries its number, so a test sees which frame it got.

The number is written as 12 large tiles, so it survives compression, scaling and colour conversion.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

BITS = 12
WIDTH, HEIGHT = 128, 96


def counter_frame(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """(H, W, 3) uint8: 4x3 tiles that spell the number, top left is the lowest bit."""
    bits = np.array([(number >> k) & 1 for k in range(BITS)], np.uint8).reshape(3, 4)
    tiles = cv2.resize(40 + 160 * bits, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.repeat(tiles[..., None], 3, 2)


def read_counter(frame: np.ndarray) -> int:
    """The number that is written in (H, W, 3) uint8."""
    height, width = frame.shape[:2]
    rows = [(2 * r + 1) * height // 6 for r in range(3)]
    columns = [(2 * c + 1) * width // 8 for c in range(4)]
    bits = frame.mean(2)[np.ix_(rows, columns)].ravel() > 120
    return int(sum(1 << k for k in range(BITS) if bits[k]))


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    *,
    times: Sequence[float] | None = None,
    fps: float = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    time_base: Fraction = Fraction(1, 90_000),
    options: dict[str, str] | None = None,
    prepare: Any = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Encode (H, W, 3 or 4) uint8 frames at the given times in seconds (else at `fps`).

    `prepare(container, stream)` may set what PyAV has no argument for.
    """
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream: Any = None
        for k, pixels in enumerate(frames):
            if stream is None:
                stream = container.add_stream(
                    codec, rate=Fraction(fps).limit_denominator(1001), options=options or {}
                )
                stream.height, stream.width, stream.pix_fmt = *pixels.shape[:2], pix_fmt
                stream.codec_context.time_base = time_base
                if prepare is not None:
                    prepare(container, stream)
            kind = {2: "gray", 3: "rgb24", 4: "rgba"}[pixels.shape[2] if pixels.ndim == 3 else 2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=kind)
            seconds = times[k] if times is not None else k / fps
            frame.pts, frame.time_base = round(seconds / time_base), time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def counter_video(path: Path, n: int = 25, **settings: Any) -> Path:
    """A video whose frames are numbered 0 .. n - 1."""
    return write_video(path, (counter_frame(k) for k in range(n)), **settings)


def sine(seconds: float, sample_rate: int = 16_000, hertz: float = 440.0) -> np.ndarray:
    """(T,) float32 pure tone."""
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * sample_rate)) / sample_rate)).astype(
        np.float32
    )
