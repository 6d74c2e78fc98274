"""The file that holds a codec's codes (`.l2c`): a head of 40 bytes, then bits.

| bytes | what | as |
|---|---|---|
| 0-3 | magic | `L2C` and a zero byte |
| 4 | version | 1 |
| 5 | n_q, books per frame | 1 .. 255 |
| 6-7 | codebook_size - 1 | 0 .. 65535 |
| 8-11 | sample_rate | Hz |
| 12-15 | hop_length | samples per frame |
| 16-23 | number of samples | what decoding gives back, exactly |
| 24-31 | fingerprint of the codec | `code_fingerprint`: encoder and codebooks, not the decoder |
| 32-35 | CRC-32 of the codes | all bytes after the head |
| 36-39 | CRC-32 of the head | its first 36 bytes |
| 40- | codes | ceil(samples / hop_length) frames of n_q codes of ceil(log2 codebook_size) bits |

Numbers are little-endian. Codes follow each other frame by frame, within a frame book by book, highest bit
first, without gaps; zero bits fill the last byte. The length of the file follows from its head, so a head
that lies is found before anything is read. Every 8 frames fill whole bytes, so reading and writing hold a few
frames, never the file. The checksums find damage, not forgery.

It knows no codec, and does not code the entropy (EnCodec's language model would save a quarter).
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from lip2speech.audio import replacing
from lip2speech.video.errors import MediaError
from lip2speech.video.sniff import open_ordinary

SUFFIX = ".l2c"
MAGIC = b"L2C\0"
VERSION = 1
HEAD = struct.Struct("<4sBBHIIQ8sII")
READ_BYTES = 1 << 16
GROUP = 8  # frames that fill whole bytes, whatever the width of a code


@dataclass(frozen=True)
class CodesHead:
    """What a container says of its codes."""

    fingerprint: str
    sample_rate: int
    hop_length: int
    n_q: int
    codebook_size: int
    samples: int = 0

    def __post_init__(self) -> None:
        sizes = (1 <= self.n_q < 1 << 8, 1 <= self.codebook_size <= 1 << 16, 0 <= self.samples < 1 << 64)
        rates = (1 <= self.sample_rate < 1 << 32, 1 <= self.hop_length < 1 << 32)
        if not all((*sizes, *rates)):
            raise ValueError(
                "a container holds 1..255 books of 1..65536 entries, a sample_rate and a hop_length, got "
                f"{self.n_q} of {self.codebook_size}, {self.sample_rate} and {self.hop_length}."
            )

    @property
    def bits(self) -> int:
        """Of one code."""
        return max(1, (self.codebook_size - 1).bit_length())

    @property
    def frames(self) -> int:
        return -(-self.samples // self.hop_length)

    @property
    def code_bytes(self) -> int:
        """How long the codes are."""
        return -(-self.frames * self.n_q * self.bits // 8)

    @property
    def kbps(self) -> float:
        """Bit rate of the codes, in kbit/s."""
        return self.sample_rate / self.hop_length * self.n_q * self.bits / 1000

    @property
    def seconds(self) -> float:
        return self.samples / self.sample_rate

    def pack(self, crc: int) -> bytes:
        """The 40 bytes, with the checksum of the codes."""
        numbers = (self.n_q, self.codebook_size - 1, self.sample_rate, self.hop_length, self.samples)
        packed = HEAD.pack(MAGIC, VERSION, *numbers, bytes.fromhex(self.fingerprint), crc, 0)
        return packed[:-4] + struct.pack("<I", zlib.crc32(packed[:-4]))


class CodesWriter:
    """Appends codes to a file whose head is written last, when their number is known."""

    def __init__(self, file: BinaryIO, head: CodesHead):
        self.file, self.head = file, head
        self.frames, self.crc, self.closed = 0, 0, False
        self._bits = np.zeros(0, np.uint8)
        file.write(bytes(HEAD.size))

    def write(self, codes: np.ndarray) -> None:
        """The next frames: (n_q, T) whole numbers below codebook_size."""
        if codes.ndim != 2 or codes.shape[0] != self.head.n_q or not np.issubdtype(codes.dtype, np.integer):
            raise ValueError(
                f"codes must be (n_q={self.head.n_q}, T) of whole numbers, got {codes.shape} {codes.dtype}."
            )
        if codes.size and not 0 <= codes.min() <= codes.max() < self.head.codebook_size:
            raise ValueError(
                f"codes must be in 0..{self.head.codebook_size - 1}, got {codes.min()}..{codes.max()}."
            )
        self.frames += codes.shape[1]
        self._put(np.concatenate([self._bits, to_bits(codes.T.reshape(-1), self.head.bits)]))

    def close(self, samples: int) -> CodesHead:
        """Write what is left and the head: the codes stand for so many samples."""
        head = replace(self.head, samples=samples)
        if head.frames != self.frames:
            raise ValueError(f"{samples} samples are {head.frames} frames, got {self.frames}.")
        self._put(np.pad(self._bits, (0, -len(self._bits) % 8)))
        self.file.seek(0)
        self.file.write(head.pack(self.crc))
        self.closed = True
        return head

    def _put(self, bits: np.ndarray) -> None:
        whole = len(bits) // 8 * 8
        data = np.packbits(bits[:whole]).tobytes()
        self.crc = zlib.crc32(data, self.crc)
        self.file.write(data)
        self._bits = bits[whole:]


class CodesReader:
    """A container whose head, length and checksums are right; `read` gives its codes a few at a time."""

    def __init__(self, file: BinaryIO, name: str):
        self.file, self.name = file, name
        self.head, crc = _read_head(file, name)
        _check_codes(file, name, self.head, crc)

    def read(self, frames: int) -> Iterator[np.ndarray]:
        """All codes from the first on, (n_q, T) int64 with T = `frames` rounded up to 8; the last is shorter.

        Raises:
            MediaError: a code that the codebook has no entry for.
        """
        head, left = self.head, self.head.frames
        frames = -(-frames // GROUP) * GROUP
        self.file.seek(HEAD.size)
        while left:
            count = min(frames, left)
            n_bits = count * head.n_q * head.bits
            data = np.frombuffer(self.file.read(-(-n_bits // 8)), np.uint8)
            if len(data) * 8 < n_bits:
                raise MediaError(f"{self.name}: became shorter while it was read.")
            codes = from_bits(np.unpackbits(data)[:n_bits], head.bits)
            if codes.max() >= head.codebook_size:
                raise MediaError(
                    f"{self.name}: has code {codes.max()} of {head.codebook_size}; it is damaged."
                )
            yield codes.reshape(count, head.n_q).T
            left -= count


@contextmanager
def codes_writer(path: str | os.PathLike, head: CodesHead) -> Iterator[CodesWriter]:
    """A writer to call `close` on at the end; the file appears whole or not at all."""
    with replacing(Path(path)) as temporary, temporary.open("wb") as file:
        writer = CodesWriter(file, head)
        yield writer
        assert writer.closed, "a writer is closed with the number of samples before it is left"


@contextmanager
def codes_reader(path: str | os.PathLike) -> Iterator[CodesReader]:
    """The container at a path, checked; MediaError for anything else."""
    with open_ordinary(path) as file:
        yield CodesReader(file, Path(path).name)


def to_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """(N,) whole numbers -> (N * bits,) uint8 of 0 and 1, highest first."""
    shifts = np.arange(bits - 1, -1, -1, dtype=np.uint32)
    return (values.astype(np.uint32)[:, None] >> shifts & 1).astype(np.uint8).reshape(-1)


def from_bits(bits: np.ndarray, width: int) -> np.ndarray:
    """(N * width,) uint8 of 0 and 1 -> (N,) int64."""
    weights = 1 << np.arange(width - 1, -1, -1, dtype=np.int64)
    return bits.reshape(-1, width) @ weights


def _read_head(file: BinaryIO, name: str) -> tuple[CodesHead, int]:
    """What the first bytes say, and the checksum of the codes."""
    data = file.read(HEAD.size)
    if data[:4] != MAGIC:
        raise MediaError(f"{name}: holds no codes of ours; give a file that `lip2speech codec encode` wrote.")
    if len(data) < HEAD.size:
        raise MediaError(f"{name}: is cut off in its first {HEAD.size} bytes; fetch it again.")
    _, version, n_q, last_code, rate, hop, samples, mark, crc, head_crc = HEAD.unpack(data)
    if version != VERSION:
        raise MediaError(f"{name}: is of version {version}, expected {VERSION}; use the program it is from.")
    if zlib.crc32(data[:-4]) != head_crc:
        raise MediaError(f"{name}: its first {HEAD.size} bytes are damaged; fetch it again.")
    try:
        return CodesHead(mark.hex(), rate, hop, n_q, last_code + 1, samples), crc
    except ValueError as error:
        raise MediaError(f"{name}: {error}") from None


def _check_codes(file: BinaryIO, name: str, head: CodesHead, expected: int) -> None:
    """The length and the checksum of what follows the head, read in small pieces."""
    held = os.fstat(file.fileno()).st_size - HEAD.size
    if held != head.code_bytes or not head.samples:
        raise MediaError(
            f"{name}: {head.samples} samples are {head.code_bytes} bytes of codes, the file has {held}; "
            "it is cut off or damaged, fetch it again."
        )
    crc = 0
    while data := file.read(READ_BYTES):
        crc = zlib.crc32(data, crc)
    if crc != expected:
        raise MediaError(f"{name}: its codes differ from their checksum; fetch it again.")
