"""Which demuxer may read a file, decided by its first bytes; opens regular files only.

FFmpeg guesses formats from content and name, and some of its formats are lists of other files or URLs (hls,
concat, dash, image2, sdp). So the guess is not left to it: the first bytes must match an entry of `FORMATS`,
and the file is opened with exactly that demuxer. Anything else is refused.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from lip2speech.video.errors import MediaError

HEAD_BYTES = 4096
MIN_TS_PACKETS = 3  # consecutive sync bytes that identify a transport stream

ID3_HEADER = 10  # bytes; the footer has as many
MAX_ID3_TAGS = 8
TAGGED_FORMATS = ("mp3", "aac", "flac", "wav", "aiff")  # that may follow an ID3 tag
MAX_BITRATE_INDEX, MAX_RATE_INDEX = 14, 2  # of an MPEG audio frame; larger ones are reserved
LAYER_2, LAYER_3 = 0b10, 0b01

# Boxes that an ISO file (mp4, mov, 3gp, m4a), or a segment of one, may start with.
ISO_BOXES = (
    *(b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"),
    *(b"styp", b"sidx", b"emsg", b"prft", b"moof", b"uuid", b"udta", b"junk", b"pict"),
)
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
    "aac": ((0, b"\xff\xf1"), (0, b"\xff\xf9"), (0, b"\xff\xf0"), (0, b"\xff\xf8")),
    "caf": ((0, b"caff"),),
    "amr": ((0, b"#!AMR"),),
}
ACCEPTED = {
    "video": "mp4, mov, mkv, webm, avi, mpg, ts, flv, wmv, ogv, mxf, gif, y4m",
    "audio": "wav, flac, mp3, m4a, aac, ogg, aiff, caf, amr, or a video with sound",
}
"""What a caller expects, and the formats to name when it is something else."""


def open_regular_file(path: str | os.PathLike[str], expected: str = "video") -> BinaryIO:
    """Open a regular, non-empty file for reading; `expected` is the kind of file for the messages.

    Raises:
        MediaError: a URL, a folder, a pipe, a device, an empty, missing or unreadable file.
    """
    name = Path(path).name or str(path)
    if "://" in os.fspath(path):
        raise MediaError(f"{os.fspath(path)}: this is a URL, expected a file; download it first.")
    try:
        mode = Path(path).stat().st_mode
        if not stat.S_ISREG(mode):
            raise MediaError(f"{name}: this is a {_file_kind(mode)}, expected {_article(expected)} file.")
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
    raise MediaError(f"{name}: {problem}; expected {_article(expected)} file.")


def detect_file_demuxer(file: BinaryIO) -> str | None:
    """`detect_demuxer` of an open file, which is left at its start; ID3 tags of any length are skipped."""
    heads = list(_heads(file))
    file.seek(0)
    if len(heads) == 1:
        return detect_demuxer(heads[0])
    demuxer = detect_demuxer(heads[-1])
    return demuxer if demuxer in TAGGED_FORMATS else "mp3"  # its demuxer searches for the first frame


def detect_demuxer(head: bytes) -> str | None:
    """FFmpeg's name of the only demuxer that may read a file with these first bytes; None: not accepted."""
    for demuxer, signatures in FORMATS.items():
        if any(head[offset : offset + len(magic)] == magic for offset, magic in signatures):
            return demuxer
    if head[:3] == b"ID3" or _is_mpeg_audio(head):
        return "mp3"
    return "mpegts" if _is_transport_stream(head) else None


def _heads(file: BinaryIO) -> Iterator[bytes]:
    """The first bytes of a file, and those after each ID3 tag it begins with (ID3v2.4, sections 3.1, 6.2)."""
    start = 0
    for _ in range(MAX_ID3_TAGS + 1):
        file.seek(start)
        head = file.read(HEAD_BYTES)
        yield head
        if head[:3] != b"ID3" or len(head) < ID3_HEADER:
            return
        size = sum((byte & 0x7F) << 7 * (3 - k) for k, byte in enumerate(head[6:ID3_HEADER]))
        has_footer = head[5] & 0x10
        start += ID3_HEADER + size + (ID3_HEADER if has_footer else 0)


def _is_mpeg_audio(head: bytes) -> bool:
    """A frame header of layer II or III of MPEG-1, 2 or 2.5; layer I looks like a UTF-16 text."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bitrate, rate = head[2] >> 4, head[2] >> 2 & 3
    return (
        version != 1
        and layer in (LAYER_2, LAYER_3)
        and bitrate <= MAX_BITRATE_INDEX
        and rate <= MAX_RATE_INDEX
    )


def _is_transport_stream(head: bytes) -> bool:
    """Packets of 188 bytes (192 with a time code, 204 with error correction), each starting with 0x47."""
    for size, offset in ((188, 0), (192, 4), (204, 0)):
        sync = head[offset : offset + size * MIN_TS_PACKETS : size]
        if sync == b"\x47" * MIN_TS_PACKETS:
            return True
    return False


def _article(kind: str) -> str:
    """ "a video", "an audio"."""
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


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
