"""Live speech: push camera frames, pull samples.

stream.py      Stream: frames with times in, samples out; all state is its own
renderers.py   a causal model chunk by chunk, any other on sliding windows
file.py        a video file as if its frames came from a camera
"""

from lip2speech.streaming.file import StreamingResult, stream_file
from lip2speech.streaming.renderers import StreamConfig, make_renderer, stream_roi
from lip2speech.streaming.stream import Stream, StreamStats

__all__ = [
    "Stream",
    "StreamConfig",
    "StreamStats",
    "StreamingResult",
    "make_renderer",
    "stream_file",
    "stream_roi",
]
