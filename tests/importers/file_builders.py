"""Build malicious files and folders for `malicious.py`: each takes a folder and returns the path it wrote."""

import io
import json
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.importers.pickle_builders import (
    FOUR,
    Raw,
    document,
    storage,
    tensor,
    write_legacy,
    write_zip,
)

TERA = 1 << 40
GOOD = {"model": {"w": tensor()}}

Build = Callable[[Path], Path]


def pickled(contents: Any, *, legacy: bool = False, **more: Any) -> Build:
    """A checkpoint with these pickled contents."""
    write = write_legacy if legacy else write_zip
    return lambda folder: write(folder / "x.pt", contents, **more)


def extra(value: Any) -> Build:
    """A checkpoint with this value beside valid weights."""
    return pickled({**GOOD, "extra_state": value})


def weight(value: Any) -> Build:
    """A checkpoint with this value as a weight."""
    return pickled({"model": {"model.w": value}})


def data(content: bytes, file: str = "x.pt") -> Build:
    """A file of these bytes."""

    def build(folder: Path) -> Path:
        (folder / file).write_bytes(content)
        return folder / file

    return build


def endless() -> Raw:
    """A list that contains itself."""
    return Raw(b"]q\x09h\x09a")


def many_layers(folder: Path) -> Path:
    """Three thousand layers that are views of one storage of 4 MB: 12 GB once stored each by itself."""
    size = 1 << 20
    view = tensor((1024, 1024), (1024, 1), stored=storage(numel=size))
    names = (f"encoder.layers.{n}.fc1.weight" for n in range(3000))
    return write_zip(folder / "x.pt", {"model": dict.fromkeys(names, view)}, {"0": bytes(4 * size)})


def deflate_bomb(folder: Path) -> Path:
    bomb = tensor((1 << 28,), (1,), stored=storage(numel=1 << 28))
    with zipfile.ZipFile(folder / "x.pt", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("archive/data.pkl", document({"model": {"w": bomb}}))
        with archive.open("archive/data/0", "w") as entry:
            for _ in range(16):
                entry.write(bytes(1 << 20))
    return folder / "x.pt"


def patched(field: int, value: bytes, *, entry: bytes = b"archive/data/0") -> Build:
    """A valid zip with some bytes of an entry's directory record changed."""

    def build(folder: Path) -> Path:
        path = write_zip(folder / "x.pt", GOOD)
        raw = bytearray(path.read_bytes())
        at = raw.rindex(entry) - 46  # where the record begins whose name this is
        raw[at + field : at + field + len(value)] = value
        path.write_bytes(raw)
        return path

    return build


def zip_of(*entries: tuple[Any, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for entry, content in entries:
            archive.writestr(entry, content)
    return buffer.getvalue()


def link_entry() -> zipfile.ZipInfo:
    """A zip entry declared as a symbolic link."""
    info = zipfile.ZipInfo("archive/data.pkl")
    info.external_attr = 0o120777 << 16
    return info


def overlapping_entries(folder: Path) -> Path:
    """Two directory records for the same megabyte."""
    path = write_zip(folder / "x.pt", GOOD, {"0": bytes(1 << 20), "1": b""})
    raw = bytearray(path.read_bytes())
    first, second = (raw.rindex(b"archive/data/" + key) - 46 for key in (b"0", b"1"))
    for field in (slice(16, 28), slice(42, 46)):  # checksum and sizes, where its data begins
        raw[second + field.start : second + field.stop] = raw[first + field.start : first + field.stop]
    path.write_bytes(raw)
    return path


def flipped(folder: Path) -> Path:
    path = write_zip(folder / "x.pt", GOOD)
    raw = bytearray(path.read_bytes())
    raw[raw.index(FOUR) + 5] ^= 1
    path.write_bytes(raw)
    return path


def tar(folder: Path) -> Path:
    with tarfile.open(folder / "x.pt", "w") as archive:
        info = tarfile.TarInfo("../MARK")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    return folder / "x.pt"


def link_to(target: str) -> Build:
    def build(folder: Path) -> Path:
        (folder / "x.pt").symlink_to(target)
        return folder / "x.pt"

    return build


def fifo(folder: Path) -> Path:
    os.mkfifo(folder / "x.pt")
    return folder / "x.pt"


def safetensors(
    head: Any, content: bytes = FOUR, *, length: int | None = None, grow: int = 0, raw: bytes | None = None
) -> Build:
    """A safetensors file with this header; `length` is its declared length, `grow` a sparse file size."""

    def build(folder: Path) -> Path:
        text = json.dumps(head).encode() if raw is None else raw
        with (folder / "x.safetensors").open("wb") as file:
            file.write(struct.pack("<Q", len(text) if length is None else length) + text + content)
            if grow:
                file.truncate(grow)
        return folder / "x.safetensors"

    return build


def entry(shape: list[Any], start: int = 0, end: int = 16, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def in_folder(config: bytes | Build, weights: bytes | None = None) -> Build:
    """A transformers folder: valid weights or a malicious pytorch_model.bin, and a malicious config."""

    def build(folder: Path) -> Path:
        from tests.importers.encodec_golden import write_transformers

        theirs = write_transformers(folder / "theirs")
        if weights is not None:
            (theirs / "model.safetensors").unlink()
            (theirs / "pytorch_model.bin").write_bytes(weights)
        (theirs / "config.json").unlink()
        if isinstance(config, bytes):
            (theirs / "config.json").write_bytes(config)
        else:
            config(theirs).rename(theirs / "config.json")
        return theirs

    return build


def settings_with(**changes: Any) -> Build:
    """A valid config.json with these changes."""

    def build(folder: Path) -> Path:
        from tests.importers.encodec_golden import settings

        (folder / "x.json").write_text(json.dumps(settings() | changes))
        return folder / "x.json"

    return build


def ours(yaml: str) -> Build:
    """A checkpoint folder of ours with this config.yaml and valid checksums."""

    def build(folder: Path) -> Path:
        import hashlib

        from tests.factories import save_codec

        path = save_codec(folder / "codec")
        (path / "config.yaml").write_text(yaml)
        files = ("config.yaml", "model.safetensors", "README.md")
        sums = (f"{hashlib.sha256((path / n).read_bytes()).hexdigest()}  {n}\n" for n in files)
        (path / "SHA256SUMS").write_text("".join(sums))
        return path

    return build


def npy(header: str) -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def objects(folder: Path) -> Path:
    class Runs:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, ("touch MARK",)

    np.save(folder / "x.npy", np.array([Runs()], dtype=object), allow_pickle=True)
    return folder / "x.npy"


def codes(**claims: Any) -> Build:
    """A code file with these header fields and valid checksums."""

    def build(folder: Path) -> Path:
        import zlib

        from lip2speech.codecs.bitstream import CodesHeader

        content = claims.pop("content", b"\xff")
        numbers = {"sample_rate": 16_000, "hop_length": 320, "codebook_sizes": (16, 16), "samples": 320}
        head = CodesHeader("00" * 8, **{**numbers, **claims})
        (folder / "x.l2c").write_bytes(head.pack(zlib.crc32(content)) + content)
        return folder / "x.l2c"

    return build
