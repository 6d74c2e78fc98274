"""File format of codes: packing and validation (lip2speech/codecs/bitstream.py)."""

import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lip2speech.codecs.bitstream import (
    HEADER,
    MAGIC,
    CodesHeader,
    codes_reader,
    codes_writer,
    from_bits,
    to_bits,
)
from lip2speech.video.errors import MediaError

FINGERPRINT = "0123456789abcdef"


def codes_of(n_q: int, size: int, frames: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, size, (n_q, frames))


def write(path: Path, codes: np.ndarray, size: int = 512, *, hop: int = 320, samples: int = 0) -> CodesHeader:
    header = CodesHeader(FINGERPRINT, 16_000, hop, (size,) * len(codes))
    with codes_writer(path, header) as writer:
        for chunk in np.array_split(codes, 3, axis=1):
            writer.write(chunk)
        return writer.close(samples or codes.shape[1] * hop)


def read(path: Path, frames: int = 8) -> np.ndarray:
    with codes_reader(path) as reader:
        return np.concatenate(list(reader.read(frames)), axis=1)


@pytest.mark.parametrize("size", [1, 2, 3, 512, 1000, 1024, 65536])
@pytest.mark.parametrize("n_q", [1, 3, 8])
@pytest.mark.parametrize("frames", [1, 7, 8, 33])
def test_codes_round_trip(tmp_path: Path, size: int, n_q: int, frames: int) -> None:
    codes = codes_of(n_q, size, frames)
    header = write(tmp_path / "a.l2c", codes, size)
    for chunk in (1, 8, 1000):
        assert np.array_equal(read(tmp_path / "a.l2c", chunk), codes)
    assert (tmp_path / "a.l2c").stat().st_size == HEADER.size + -(-n_q * frames * header.bits[0] // 8)


def test_the_bytes_are_as_documented(tmp_path: Path) -> None:
    write(tmp_path / "a.l2c", np.array([[1, 2], [3, 0]]), 4, samples=639)
    data = (tmp_path / "a.l2c").read_bytes()
    codes = bytes([0b01_11_10_00])
    front = MAGIC + bytes([1, 2]) + struct.pack("<HIIQ", 3, 16_000, 320, 639) + bytes.fromhex(FINGERPRINT)
    front += struct.pack("<I", zlib.crc32(codes))
    assert data == front + struct.pack("<I", zlib.crc32(front)) + codes


def test_each_codebook_is_packed_in_its_own_width(tmp_path: Path) -> None:
    codes = np.stack([np.arange(33) % 3, np.arange(33) * 31, np.zeros(33, int)])
    with codes_writer(tmp_path / "a.l2c", CodesHeader(FINGERPRINT, 16_000, 320, (3, 1024, 1))) as writer:
        writer.write(codes[:, :7])
        writer.write(codes[:, 7:])
        header = writer.close(33 * 320)
    assert header.bits == (2, 10, 1)
    assert header.kbps == pytest.approx(0.65)
    assert (tmp_path / "a.l2c").stat().st_size == header.file_bytes == HEADER.size + 3 * 2 + -(-33 * 13 // 8)
    assert np.array_equal(read(tmp_path / "a.l2c"), codes)
    with codes_reader(tmp_path / "a.l2c") as reader:
        assert reader.header == header


def test_a_code_beyond_its_codebook_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match=r"codes must be in 0..99, got 100..100"),
        codes_writer(tmp_path / "a.l2c", CodesHeader(FINGERPRINT, 16_000, 320, (100, 1024))) as writer,
    ):
        writer.write(np.array([[100], [100]]))
    (tmp_path / "a.l2c").write_bytes(packed({"codebook_sizes": (100, 1024), "samples": 320}, b"\xff\xff\x80"))
    with pytest.raises(MediaError, match="has code 127 of 100"):
        read(tmp_path / "a.l2c")


def test_the_header_has_length_and_bit_rate(tmp_path: Path) -> None:
    header = write(tmp_path / "a.l2c", codes_of(4, 512, 50), samples=15_999)
    with codes_reader(tmp_path / "a.l2c") as reader:
        assert reader.header == header
    assert (header.frames, header.bits, header.samples) == (50, (9,) * 4, 15_999)
    assert header.kbps == pytest.approx(1.8)
    assert header.seconds == pytest.approx(1.0, abs=1e-3)


def test_bits_are_most_significant_first() -> None:
    assert to_bits(np.array([[5, 1]]), (3,)).tolist() == [1, 0, 1, 0, 0, 1]
    assert from_bits(np.array([1, 0, 1, 0, 0, 1], np.uint8), (3,)).tolist() == [[5, 1]]


def packed(header: dict[str, Any], codes: bytes = bytes(9), crc: int | None = None) -> bytes:
    """A file with a valid checksum over whatever its header claims."""
    numbers = {"sample_rate": 16_000, "hop_length": 320, "codebook_sizes": (512,) * 4, "samples": 640}
    built = CodesHeader(FINGERPRINT, **{**numbers, **header})
    rest = built.size_table + codes
    return built.pack(zlib.crc32(rest) if crc is None else crc) + rest


GOOD = packed({})
PER_CODEBOOK = packed({"codebook_sizes": (100, 1024)}, bytes(5))
WRONG: dict[str, tuple[bytes, str]] = {
    "another file": (b"RIFF" + bytes(60), "is not a codes file"),
    "cut in its header": (GOOD[:20], "cut off in its first 40 bytes"),
    "a later version": (GOOD[:4] + b"\3" + GOOD[5:], "has version 3, expected 1 or 2"),
    "a changed header": (GOOD[:9] + b"\1" + GOOD[10:], "first 40 bytes are damaged"),
    "a changed code": (GOOD[:45] + b"\1" + GOOD[46:], "do not match their checksum"),
    "a byte missing": (GOOD[:-1], "9 bytes of codes, the file has 8"),
    "a byte too many": (GOOD + b"\0", "9 bytes of codes, the file has 10"),
    "no samples": (packed({"samples": 0}, b""), "0 samples"),
    "2^63 samples": (packed({"samples": 1 << 63}), "9223372036854775808 samples need"),
    "a terabyte of codes": (packed({"samples": 1 << 50}), "the file has 9"),
    "255 codebooks": (packed({"codebook_sizes": (512,) * 255}), "the file has 9"),
    "cut in its sizes": (PER_CODEBOOK[:42], "cut off in the sizes of its 2 codebooks"),
    "a changed size": (
        PER_CODEBOOK[:40] + bytes([2]) + PER_CODEBOOK[41:],
        "3 bytes of codes, the file has 5",
    ),
    "a changed size as wide": (
        PER_CODEBOOK[:40] + bytes([98]) + PER_CODEBOOK[41:],
        "do not match their checksum",
    ),
    "a size above its header's": (
        PER_CODEBOOK[:43] + bytes([7]) + PER_CODEBOOK[44:],
        "header and codebook sizes disagree",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_an_invalid_file_is_refused_with_one_line(tmp_path: Path, kind: str) -> None:
    data, message = WRONG[kind]
    (tmp_path / "a.l2c").write_bytes(data)
    with pytest.raises(MediaError, match=f"a.l2c: .*{message}"):
        read(tmp_path / "a.l2c")


@pytest.mark.parametrize("sizes", [(512, 512), (100, 1024)])
def test_every_flipped_bit_is_detected(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    good = packed({"codebook_sizes": sizes}, bytes(5))
    for at in range(8 * len(good)):
        bad = bytearray(good)
        bad[at // 8] ^= 1 << at % 8
        (tmp_path / "b.l2c").write_bytes(bad)
        with pytest.raises(MediaError, match="b.l2c"):
            read(tmp_path / "b.l2c")


def test_a_stored_code_beyond_its_codebook_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.l2c").write_bytes(packed({"codebook_sizes": (5,), "samples": 320}, b"\xe0"))
    with pytest.raises(MediaError, match="has code 7 of 5"):
        read(tmp_path / "a.l2c")


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.zeros((3, 4), int), r"codes must be \(n_q=2, T\)"),
        (np.zeros((2, 4)), "integers"),
        (np.full((2, 4), 512), r"codes must be in 0..511, got 512..512"),
    ],
)
def test_invalid_codes_leave_no_file(tmp_path: Path, codes: np.ndarray, message: str) -> None:
    with (
        pytest.raises(ValueError, match=message),
        codes_writer(tmp_path / "a.l2c", CodesHeader(FINGERPRINT, 16_000, 320, (512, 512))) as writer,
    ):
        writer.write(codes)
    assert not list(tmp_path.iterdir())


def test_a_wrong_length_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1000 samples are 4 frames, got 5"):
        write(tmp_path / "a.l2c", codes_of(2, 512, 5), samples=1000)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change",
    [
        {"codebook_sizes": (2,) * 256},
        {"codebook_sizes": ()},
        {"codebook_sizes": (65537,)},
        {"sample_rate": 0},
        {"hop_length": 0},
    ],
)
def test_values_that_do_not_fit_the_header_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a header needs 1..255 codebooks of 1..65536 entries"):
        replace(CodesHeader(FINGERPRINT, 16_000, 320, (512, 512)), **change)
