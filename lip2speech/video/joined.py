"""Files joined end to end (`cat a b`) in formats of which FFmpeg, like players, reads only the first file.

Transport streams, MPEG, Matroska, WebM and Ogg are read on: see `frame_rate.JoinedClock`.
"""

import os
import re
from typing import BinaryIO

from lip2speech.video.errors import MediaError

MAX_BOXES = 100_000  # two for every fragment
BLOCK_BYTES = 1 << 20
# Headers of formats without a table of contents; they are searched for in the whole file.
HEADERS = {
    "flv": re.compile(rb"FLV\x01[\x00-\x05]\x00\x00\x00\x09\x00\x00\x00\x00", re.DOTALL),
    "asf": re.compile(re.escape(bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"))),
}
MAX_HEADER_BYTES = 16


def refuse_joined(file: BinaryIO, demuxer: str, name: str) -> None:
    """Raise MediaError for a second file behind the first; `file` is left at its beginning."""
    if demuxer == "mov":
        joined = _has_second_movie(file)
    elif demuxer in ("avi", "wav"):
        joined = _has_second_riff(file)
    else:
        joined = demuxer in HEADERS and _has_second_header(file, HEADERS[demuxer])
    file.seek(0)
    if joined:
        raise MediaError(
            f"{name}: these are files joined end to end, of which only the first would be read; "
            "give them one by one, or join them with an editor."
        )


def _has_second_movie(file: BinaryIO) -> bool:
    """A second `moov` among the top-level boxes, with or without fragments."""
    position, movies, size = 0, 0, file.seek(0, os.SEEK_END)
    for _ in range(MAX_BOXES):
        file.seek(position)
        header = file.read(16)
        length, kind = int.from_bytes(header[:4], "big"), header[4:8]
        length = int.from_bytes(header[8:16], "big") if length == 1 else length
        movies += kind == b"moov"
        if length < 8 or position + length >= size:
            break
        position += length
    return movies > 1


def _has_second_riff(file: BinaryIO) -> bool:
    """A second RIFF of the same form behind the first; `AVIX` is more of the same AVI."""
    position, form, size = 0, b"", file.seek(0, os.SEEK_END)
    for _ in range(MAX_BOXES):
        file.seek(position)
        header = file.read(12)
        if header[:4] != b"RIFF" or len(header) < 12:
            return False
        if header[8:] == form:
            return True
        form = form or header[8:]
        length = int.from_bytes(header[4:8], "little")
        position += 8 + length + length % 2
        if position >= size:
            return False
    return False


def _has_second_header(file: BinaryIO, header: re.Pattern[bytes]) -> bool:
    """A header anywhere but at the beginning."""
    file.seek(1)
    tail = b""
    while block := file.read(BLOCK_BYTES):
        if header.search(tail + block):
            return True
        tail = block[-MAX_HEADER_BYTES:]
    return False
