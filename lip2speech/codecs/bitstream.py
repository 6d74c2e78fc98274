"""The file that holds a codec's codes (`.l2c`): a head of 40 bytes, then bits.

| bytes | what | as |
|---|---|---|
| 0-3 | magic | `L2C` and a zero byte |
| 4 | version | 1; 2: books of different sizes |
| 5 | n_q, books per frame | 1 .. 255 |
| 6-7 | codebook_size - 1 | 0 .. 65535; of the largest book |
| 8-11 | sample_rate | Hz |
| 12-15 | hop_length | samples per frame |
| 16-23 | number of samples | what decoding gives back, exactly |
| 24-31 | fingerprint of the codec | `code_fingerprint`: encoder and codebooks, not the decoder |
| 32-35 | CRC-32 of the codes | all bytes after the head |
| 36-39 | CRC-32 of the head | its first 36 bytes |
| 40- | sizes | version 2 alone: each book's codebook_size - 1, 2 bytes |
| | codes | ceil(samples / hop_length) frames of n_q codes of ceil(log2 codebook_size) bits, its own book's |

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

from lip2speech.files import atomic_write
from lip2speech.modules.codebook_patterns import describe_codebooks
from lip2speech.video.errors import MediaError
from lip2speech.video.formats import open_regular_file

SUFFIX = ".l2c"
MAGIC = b"L2C\0"
ONE_SIZE, OWN_SIZES = 1, 2  # versions
HEAD = struct.Struct("<4sBBHIIQ8sII")
READ_BYTES = 1 << 16
GROUP = 8  # frames that fill whole bytes, whatever the width of a code


@dataclass(frozen=True)
class CodesHeader:
    """What a container says of its codes."""

    fingerprint: str
    sample_rate: int
    hop_length: int
    codebook_sizes: tuple[int, ...]
    samples: int = 0

    def __post_init__(self) -> None:
        sizes = (1 <= self.n_q < 1 << 8, all(1 <= size <= 1 << 16 for size in self.codebook_sizes))
        rates = (1 <= self.sample_rate < 1 << 32, 1 <= self.hop_length < 1 << 32)
        if not all((*sizes, *rates, 0 <= self.samples < 1 << 64)):
            raise ValueError(
                "a container holds 1..255 books of 1..65536 entries, a sample_rate and a hop_length, got "
                f"{describe_codebooks(self.codebook_sizes)}, {self.sample_rate} and {self.hop_length}."
            )

    @property
    def n_q(self) -> int:
        return len(self.codebook_sizes)

    @property
    def bits(self) -> tuple[int, ...]:
        """Of one code of each book."""
        return tuple(max(1, (size - 1).bit_length()) for size in self.codebook_sizes)

    @property
    def frames(self) -> int:
        return -(-self.samples // self.hop_length)

    @property
    def code_bytes(self) -> int:
        """How long the codes are."""
        return -(-self.frames * sum(self.bits) // 8)

    @property
    def table(self) -> bytes:
        """The sizes of books that are not all alike, which stand between head and codes."""
        alike = len(set(self.codebook_sizes)) == 1
        return b"" if alike else struct.pack(f"<{self.n_q}H", *(size - 1 for size in self.codebook_sizes))

    @property
    def file_bytes(self) -> int:
        """How long the file is."""
        return HEAD.size + len(self.table) + self.code_bytes

    @property
    def kbps(self) -> float:
        """Bit rate of the codes, in kbit/s."""
        return self.sample_rate / self.hop_length * sum(self.bits) / 1000

    @property
    def seconds(self) -> float:
        return self.samples / self.sample_rate

    def pack(self, crc: int) -> bytes:
        """The 40 bytes, with the checksum of what follows."""
        version, largest = OWN_SIZES if self.table else ONE_SIZE, max(self.codebook_sizes)
        numbers = (self.n_q, largest - 1, self.sample_rate, self.hop_length, self.samples)
        packed = HEAD.pack(MAGIC, version, *numbers, bytes.fromhex(self.fingerprint), crc, 0)
        return packed[:-4] + struct.pack("<I", zlib.crc32(packed[:-4]))


class CodesWriter:
    """Appends codes to a file whose head is written last, when their number is known."""

    def __init__(self, file: BinaryIO, head: CodesHeader):
        self.file, self.head = file, head
        self.frames, self.crc, self.closed = 0, zlib.crc32(head.table), False
        self._bits = np.zeros(0, np.uint8)
        file.write(bytes(HEAD.size) + head.table)

    def write(self, codes: np.ndarray) -> None:
        """The next frames: (n_q, T) whole numbers, each below its book's size."""
        if codes.ndim != 2 or codes.shape[0] != self.head.n_q or not np.issubdtype(codes.dtype, np.integer):
            raise ValueError(
                f"codes must be (n_q={self.head.n_q}, T) of whole numbers, got {codes.shape} {codes.dtype}."
            )
        for book, size in zip(codes, self.head.codebook_sizes, strict=True):
            if book.size and not 0 <= book.min() <= book.max() < size:
                raise ValueError(f"codes must be in 0..{size - 1}, got {book.min()}..{book.max()}.")
        self.frames += codes.shape[1]
        self._put(np.concatenate([self._bits, to_bits(codes, self.head.bits)]))

    def close(self, samples: int) -> CodesHeader:
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
        self.file.seek(HEAD.size + len(head.table))
        while left:
            count = min(frames, left)
            n_bits = count * sum(head.bits)
            data = np.frombuffer(self.file.read(-(-n_bits // 8)), np.uint8)
            if len(data) * 8 < n_bits:
                raise MediaError(f"{self.name}: became shorter while it was read.")
            codes = from_bits(np.unpackbits(data)[:n_bits], head.bits)
            for book, size in zip(codes, head.codebook_sizes, strict=True):
                if book.max() >= size:
                    raise MediaError(f"{self.name}: has code {book.max()} of {size}; it is damaged.")
            yield codes
            left -= count


@contextmanager
def codes_writer(path: str | os.PathLike, head: CodesHeader) -> Iterator[CodesWriter]:
    """A writer to call `close` on at the end; the file appears whole or not at all."""
    with atomic_write(Path(path)) as temporary, temporary.open("wb") as file:
        writer = CodesWriter(file, head)
        yield writer
        assert writer.closed, "a writer is closed with the number of samples before it is left"


@contextmanager
def codes_reader(path: str | os.PathLike) -> Iterator[CodesReader]:
    """The container at a path, checked; MediaError for anything else."""
    with open_regular_file(path) as file:
        yield CodesReader(file, Path(path).name)


def to_bits(codes: np.ndarray, widths: tuple[int, ...]) -> np.ndarray:
    """(n_q, T) whole numbers, bits of each book -> (T * all bits,) uint8 of 0 and 1, highest first."""
    shifts = (np.arange(width - 1, -1, -1, dtype=np.uint32) for width in widths)
    rows = (book.astype(np.uint32)[:, None] >> shift & 1 for book, shift in zip(codes, shifts, strict=True))
    return np.concatenate(list(rows), 1).astype(np.uint8).reshape(-1)


def from_bits(bits: np.ndarray, widths: tuple[int, ...]) -> np.ndarray:
    """(T * all bits,) uint8 of 0 and 1, bits of each book -> (n_q, T) int64."""
    rows = np.split(bits.reshape(-1, sum(widths)), np.cumsum(widths)[:-1], axis=1)
    return np.stack([row @ (1 << np.arange(row.shape[1] - 1, -1, -1, dtype=np.int64)) for row in rows])


def _read_head(file: BinaryIO, name: str) -> tuple[CodesHeader, int]:
    """What the first bytes say, and the checksum of the codes."""
    data = file.read(HEAD.size)
    if data[:4] != MAGIC:
        raise MediaError(f"{name}: holds no codes of ours; give a file that `lip2speech codec encode` wrote.")
    if len(data) < HEAD.size:
        raise MediaError(f"{name}: is cut off in its first {HEAD.size} bytes; fetch it again.")
    _, version, n_q, last_code, rate, hop, samples, mark, crc, head_crc = HEAD.unpack(data)
    if version not in (ONE_SIZE, OWN_SIZES):
        raise MediaError(
            f"{name}: is of version {version}, expected {ONE_SIZE} or {OWN_SIZES}; use its own program."
        )
    if zlib.crc32(data[:-4]) != head_crc:
        raise MediaError(f"{name}: its first {HEAD.size} bytes are damaged; fetch it again.")
    sizes = (last_code + 1,) * n_q if version == ONE_SIZE else _read_table(file, name, n_q)
    try:
        head = CodesHeader(mark.hex(), rate, hop, sizes, samples)
    except ValueError as error:
        raise MediaError(f"{name}: {error}") from None
    if (version == OWN_SIZES and not head.table) or max(sizes) != last_code + 1:
        raise MediaError(f"{name}: its head and its table of books disagree; it is damaged, fetch it again.")
    return head, crc


def _read_table(file: BinaryIO, name: str, n_q: int) -> tuple[int, ...]:
    """The size of each of n_q books."""
    data = file.read(2 * n_q)
    if len(data) < 2 * n_q:
        raise MediaError(f"{name}: is cut off in the sizes of its {n_q} books; fetch it again.")
    return tuple(last_code + 1 for (last_code,) in struct.iter_unpack("<H", data))


def _check_codes(file: BinaryIO, name: str, head: CodesHeader, expected: int) -> None:
    """The length and the checksum of what follows the head, read in small pieces."""
    held = os.fstat(file.fileno()).st_size - HEAD.size - len(head.table)
    if held != head.code_bytes or not head.samples:
        raise MediaError(
            f"{name}: {head.samples} samples are {head.code_bytes} bytes of codes, the file has {held}; "
            "it is cut off or damaged, fetch it again."
        )
    crc = zlib.crc32(head.table)
    while data := file.read(READ_BYTES):
        crc = zlib.crc32(data, crc)
    if crc != expected:
        raise MediaError(f"{name}: its codes differ from their checksum; fetch it again.")
