"""The file format of codes (`.l2c`): a header of 40 bytes, then bits.

| bytes | field | value |
|---|---|---|
| 0-3 | magic | `L2C` and a zero byte |
| 4 | version | 1; 2: codebooks of different sizes |
| 5 | n_q, codebooks | 1 .. 255 |
| 6-7 | codebook_size - 1 | 0 .. 65535; of the largest codebook |
| 8-11 | sample_rate | Hz |
| 12-15 | hop_length | samples per frame |
| 16-23 | number of samples | exact length after decoding |
| 24-31 | fingerprint of the codec | `code_fingerprint`: encoder and codebooks, not the decoder |
| 32-35 | CRC-32 of the codes | all bytes after the header |
| 36-39 | CRC-32 of the header | its first 36 bytes |
| 40- | sizes | version 2 only: codebook_size - 1 of each codebook, 2 bytes |
| | codes | ceil(samples / hop_length) frames of n_q codes, each of ceil(log2 codebook_size) bits of its
codebook |

Numbers are little-endian. Codes are ordered by frame, then by codebook, most significant bit first, without
padding; zero bits fill the last byte. The length of the file follows from the header, so an inconsistent
header is found before anything is read. Every 8 frames fill whole bytes, so reading and writing buffer a few
frames, never the file. The checksums detect damage, not forgery. There is no entropy coding (EnCodec's
language model would save a quarter).
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lip2speech.modules.codebook_patterns import describe_codebooks
from lip2speech.utils.files import atomic_write
from lip2speech.video.errors import MediaError
from lip2speech.video.formats import open_regular_file

SUFFIX = ".l2c"
MAGIC = b"L2C\0"
VERSION_UNIFORM, VERSION_PER_CODEBOOK = 1, 2
HEADER = struct.Struct("<4sBBHIIQ8sII")
READ_BYTES = 1 << 16
FRAMES_PER_BLOCK = 8  # frames that fill whole bytes, whatever the width of a code


@dataclass(frozen=True)
class CodesHeader:
    """The header: codec, codebook sizes and length."""

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
                "a header needs 1..255 codebooks of 1..65536 entries, a sample_rate and a hop_length, got "
                f"{describe_codebooks(self.codebook_sizes)}, {self.sample_rate} and {self.hop_length}."
            )

    @property
    def n_q(self) -> int:
        """Number of codebooks."""
        return len(self.codebook_sizes)

    @property
    def bits(self) -> tuple[int, ...]:
        """Bits per code of each codebook."""
        return tuple(max(1, (size - 1).bit_length()) for size in self.codebook_sizes)

    @property
    def frames(self) -> int:
        """Number of frames."""
        return -(-self.samples // self.hop_length)

    @property
    def code_bytes(self) -> int:
        """Length of the codes in bytes."""
        return -(-self.frames * sum(self.bits) // 8)

    @property
    def size_table(self) -> bytes:
        """The sizes between header and codes; empty if all codebooks have the same."""
        uniform = len(set(self.codebook_sizes)) == 1
        sizes = (size - 1 for size in self.codebook_sizes)
        return b"" if uniform else struct.pack(f"<{self.n_q}H", *sizes)

    @property
    def file_bytes(self) -> int:
        """Length of the file in bytes."""
        return HEADER.size + len(self.size_table) + self.code_bytes

    @property
    def kbps(self) -> float:
        """Bit rate of the codes, in kbit/s."""
        return self.sample_rate / self.hop_length * sum(self.bits) / 1000

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.samples / self.sample_rate

    def pack(self, crc: int) -> bytes:
        """The 40 bytes, given the checksum of what follows."""
        version = VERSION_PER_CODEBOOK if self.size_table else VERSION_UNIFORM
        numbers = (self.n_q, max(self.codebook_sizes) - 1, self.sample_rate, self.hop_length, self.samples)
        packed = HEADER.pack(MAGIC, version, *numbers, bytes.fromhex(self.fingerprint), crc, 0)
        return packed[:-4] + struct.pack("<I", zlib.crc32(packed[:-4]))


class CodesWriter:
    """Appends codes to a file; the header is written last, when their number is known."""

    def __init__(self, file: BinaryIO, header: CodesHeader):
        self.file, self.header = file, header
        self.frames, self.crc, self.closed = 0, zlib.crc32(header.size_table), False
        self._pending_bits = np.zeros(0, np.uint8)
        file.write(bytes(HEADER.size) + header.size_table)

    def write(self, codes: NDArray[np.integer[Any]]) -> None:
        """Append frames: (n_q, T) integers below the size of their codebook."""
        n_q = self.header.n_q
        if codes.ndim != 2 or codes.shape[0] != n_q or not np.issubdtype(codes.dtype, np.integer):
            raise ValueError(f"codes must be (n_q={n_q}, T) integers, got {codes.shape} {codes.dtype}.")
        for row, size in zip(codes, self.header.codebook_sizes, strict=True):
            if row.size and not 0 <= row.min() <= row.max() < size:
                raise ValueError(f"codes must be in 0..{size - 1}, got {row.min()}..{row.max()}.")
        self.frames += codes.shape[1]
        self._write_bits(np.concatenate([self._pending_bits, to_bits(codes, self.header.bits)]))

    def close(self, samples: int) -> CodesHeader:
        """Write the remaining bits and the header, for audio of `samples` samples."""
        header = replace(self.header, samples=samples)
        if header.frames != self.frames:
            raise ValueError(f"{samples} samples are {header.frames} frames, got {self.frames}.")
        self._write_bits(np.pad(self._pending_bits, (0, -len(self._pending_bits) % 8)))
        self.file.seek(0)
        self.file.write(header.pack(self.crc))
        self.closed = True
        return header

    def _write_bits(self, bits: NDArray[np.uint8]) -> None:
        whole = len(bits) // 8 * 8
        data = np.packbits(bits[:whole]).tobytes()
        self.crc = zlib.crc32(data, self.crc)
        self.file.write(data)
        self._pending_bits = bits[whole:]


class CodesReader:
    """A file whose header, length and checksums are valid; `read` yields its codes in chunks."""

    def __init__(self, file: BinaryIO, name: str):
        self.file, self.name = file, name
        self.header, crc = _read_header(file, name)
        _check_codes(file, name, self.header, crc)

    def read(self, frames: int) -> Iterator[NDArray[np.int64]]:
        """All codes in order, (n_q, T) int64 with T = `frames` rounded up to 8; the last chunk may be
        shorter.

        Raises:
            MediaError: a code is not below the size of its codebook.
        """
        header, left = self.header, self.header.frames
        frames = -(-frames // FRAMES_PER_BLOCK) * FRAMES_PER_BLOCK
        self.file.seek(HEADER.size + len(header.size_table))
        while left:
            count = min(frames, left)
            n_bits = count * sum(header.bits)
            data = np.frombuffer(self.file.read(-(-n_bits // 8)), np.uint8)
            if len(data) * 8 < n_bits:
                raise MediaError(f"{self.name}: was truncated while it was read.")
            codes = from_bits(np.unpackbits(data)[:n_bits], header.bits)
            for row, size in zip(codes, header.codebook_sizes, strict=True):
                if row.max() >= size:
                    raise MediaError(f"{self.name}: has code {row.max()} of {size}; it is damaged.")
            yield codes
            left -= count


@contextmanager
def codes_writer(path: str | os.PathLike[str], header: CodesHeader) -> Iterator[CodesWriter]:
    """A writer, to be closed with the number of samples; the file appears complete or not at all."""
    with atomic_write(Path(path)) as temporary, temporary.open("wb") as file:
        writer = CodesWriter(file, header)
        yield writer
        assert writer.closed, "call close with the number of samples before leaving the context"


@contextmanager
def codes_reader(path: str | os.PathLike[str]) -> Iterator[CodesReader]:
    """A reader of a valid file; MediaError for anything else."""
    with open_regular_file(path, "codes") as file:
        yield CodesReader(file, Path(path).name)


def to_bits(codes: NDArray[np.integer[Any]], widths: tuple[int, ...]) -> NDArray[np.uint8]:
    """(n_q, T) integers, bits per code of each codebook -> (T * sum(widths),) bits as uint8, MSB first."""
    shifts = (np.arange(width - 1, -1, -1, dtype=np.uint32) for width in widths)
    rows = (row.astype(np.uint32)[:, None] >> shift & 1 for row, shift in zip(codes, shifts, strict=True))
    bits: NDArray[np.uint8] = np.concatenate(list(rows), 1).astype(np.uint8).reshape(-1)
    return bits


def from_bits(bits: NDArray[np.uint8], widths: tuple[int, ...]) -> NDArray[np.int64]:
    """(T * sum(widths),) bits as uint8, bits per code of each codebook -> (n_q, T) int64."""
    rows = np.split(bits.reshape(-1, sum(widths)), np.cumsum(widths)[:-1], axis=1)
    codes: NDArray[np.int64] = np.stack(
        [row @ (1 << np.arange(row.shape[1] - 1, -1, -1, dtype=np.int64)) for row in rows]
    )
    return codes


def _read_header(file: BinaryIO, name: str) -> tuple[CodesHeader, int]:
    """The header, and the checksum of the codes."""
    data = file.read(HEADER.size)
    if data[:4] != MAGIC:
        raise MediaError(f"{name}: is not a codes file; give one written by `lip2speech codec encode`.")
    if len(data) < HEADER.size:
        raise MediaError(f"{name}: is cut off in its first {HEADER.size} bytes; fetch it again.")
    _, version, n_q, last_code, rate, hop, samples, fingerprint, crc, header_crc = HEADER.unpack(data)
    if version not in (VERSION_UNIFORM, VERSION_PER_CODEBOOK):
        raise MediaError(
            f"{name}: has version {version}, expected {VERSION_UNIFORM} or {VERSION_PER_CODEBOOK}; use the "
            "release that wrote it."
        )
    if zlib.crc32(data[:-4]) != header_crc:
        raise MediaError(f"{name}: its first {HEADER.size} bytes are damaged; fetch it again.")
    uniform = version == VERSION_UNIFORM
    sizes = (last_code + 1,) * n_q if uniform else _read_size_table(file, name, n_q)
    try:
        header = CodesHeader(fingerprint.hex(), rate, hop, sizes, samples)
    except ValueError as error:
        raise MediaError(f"{name}: {error}") from None
    if (not uniform and not header.size_table) or max(sizes) != last_code + 1:
        raise MediaError(f"{name}: header and codebook sizes disagree; it is damaged, fetch it again.")
    return header, crc


def _read_size_table(file: BinaryIO, name: str, n_q: int) -> tuple[int, ...]:
    """The size of each of n_q codebooks."""
    data = file.read(2 * n_q)
    if len(data) < 2 * n_q:
        raise MediaError(f"{name}: is cut off in the sizes of its {n_q} codebooks; fetch it again.")
    return tuple(last_code + 1 for (last_code,) in struct.iter_unpack("<H", data))


def _check_codes(file: BinaryIO, name: str, header: CodesHeader, expected_crc: int) -> None:
    """Check length and checksum of what follows the header, in small reads."""
    found = os.fstat(file.fileno()).st_size - HEADER.size - len(header.size_table)
    if found != header.code_bytes or not header.samples:
        raise MediaError(
            f"{name}: {header.samples} samples need {header.code_bytes} bytes of codes, the file has {found}"
            "; it is cut off or damaged, fetch it again."
        )
    crc = zlib.crc32(header.size_table)
    while data := file.read(READ_BYTES):
        crc = zlib.crc32(data, crc)
    if crc != expected_crc:
        raise MediaError(f"{name}: its codes do not match their checksum; fetch it again.")
