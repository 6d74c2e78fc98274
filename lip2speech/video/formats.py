"""Which demuxer may read a file, decided by its first bytes; opens regular files only.

FFmpeg guesses formats from content and name, and some of its formats are lists of other files or URLs (hls,
concat, dash, image2, sdp). So the guess is not left to it: the first bytes must match an entry of `FORMATS`,
and the file is opened with exactly that demuxer. Anything else is refused.
"""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from lip2speech.video.errors import MediaError

HEAD_BYTES = 4096
MIN_TS_PACKETS = 3  # consecutive sync bytes that identify a transport stream

# Boxes that an ISO file (mp4, mov, 3gp, m4a) may start with.
ISO_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
# demuxer -> (offset, magic bytes)
FORMATS: dict[str, tuple[tuple[int, bytes], ...]] = {
    "mov": tuple((4, box) for box in ISO_BOXES),
    "matroska": ((0, b"\x1a\x45\xdf\xa3"),),
    "avi": ((8, b"AVI "),),
    "mpeg": ((0, b"\x00\x00\x01\xba"),),
    "mpegvideo": ((0, b"\x00\x00\x01\xb3"),),
    "flv": ((0, b"FLV\x01"),),
    "asf": ((0, bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")),),
    "ogg": ((0, b"OggS"),),
    "gif": ((0, b"GIF87a"), (0, b"GIF89a")),
    "mxf": ((0, bytes.fromhex("060e2b34020501010d010201")),),
    "yuv4mpegpipe": ((0, b"YUV4MPEG2 "),),
    "wav": ((8, b"WAVE"),),
    "flac": ((0, b"fLaC"),),
    "aiff": ((8, b"AIFF"), (8, b"AIFC")),
    "mp3": ((0, b"ID3"), (0, b"\xff\xfb"), (0, b"\xff\xf3"), (0, b"\xff\xf2")),
    "aac": ((0, b"\xff\xf1"), (0, b"\xff\xf9")),
    "caf": ((0, b"caff"),),
    "amr": ((0, b"#!AMR"),),
}
ACCEPTED = "mp4, mov, mkv, webm, avi, mpg, ts, flv, wmv, ogv, mxf, gif, y4m"


def open_regular_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular, non-empty file for reading.

    Raises:
        MediaError: a URL, a folder, a pipe, a device, an empty, missing or unreadable file.
    """
    name = Path(path).name or str(path)
    if "://" in os.fspath(path):
        raise MediaError(f"{os.fspath(path)}: this is a URL, expected a file; download it first.")
    try:
        mode = Path(path).stat().st_mode
        if not stat.S_ISREG(mode):
            raise MediaError(f"{name}: this is a {_file_kind(mode)}, expected a video file.")
        # Without O_NONBLOCK, a FIFO put there after the check would hang us.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        file = os.fdopen(os.open(path, flags), "rb")
    except OSError as error:
        raise MediaError(f"{name}: {error.strerror or error}; check the path.") from None
    except ValueError as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"{name!r}: not a valid path ({error}).") from None
    status = os.fstat(file.fileno())
    if stat.S_ISREG(status.st_mode) and status.st_size > 0:
        return file
    file.close()
    problem = "the file is empty" if stat.S_ISREG(status.st_mode) else "not a regular file"
    raise MediaError(f"{name}: {problem}; expected a video.")


def detect_demuxer(head: bytes) -> str | None:
    """FFmpeg's name of the only demuxer that may read a file with these first bytes; None: not accepted."""
    for demuxer, signatures in FORMATS.items():
        if any(head[offset : offset + len(magic)] == magic for offset, magic in signatures):
            return demuxer
    return "mpegts" if _is_transport_stream(head) else None


def _is_transport_stream(head: bytes) -> bool:
    """Packets of 188 bytes (192 with a time code, 204 with error correction), each starting with 0x47."""
    for size, offset in ((188, 0), (192, 4), (204, 0)):
        sync = head[offset : offset + size * MIN_TS_PACKETS : size]
        if sync == b"\x47" * MIN_TS_PACKETS:
            return True
    return False


def _file_kind(mode: int) -> str:
    """The kind of file of an st_mode, in words."""
    kinds = (
        (stat.S_ISDIR, "folder"),
        (stat.S_ISFIFO, "pipe"),
        (stat.S_ISSOCK, "socket"),
        (stat.S_ISCHR, "device"),
        (stat.S_ISBLK, "device"),
    )
    return next((name for test, name in kinds if test(mode)), "special file")
