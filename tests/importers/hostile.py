"""Builds PyTorch files opcode by opcode, honest and hostile ones, without torch.save."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C


class Raw(bytes):
    """Opcodes that leave one value on the stack."""


def body(value: Any) -> bytes:
    """The opcodes of a value; containers may hold `Raw`."""
    if isinstance(value, Raw):
        return bytes(value)
    if isinstance(value, dict):
        return b"}(" + b"".join(body(k) + body(v) for k, v in value.items()) + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(map(body, value)) + b"e"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(body, value)) + b"t"
    return pickle.dumps(value, 2)[2:-1]


def document(value: Any) -> bytes:
    """A whole pickle of protocol 2."""
    return b"\x80\x02" + body(value) + b"."


def name(path: str) -> Raw:
    """GLOBAL: `a.b.c` as the file would name it."""
    module, _, last = path.rpartition(".")
    return Raw(f"c{module}\n{last}\n".encode())


def call(path: str, *args: Any, state: Any = None) -> Raw:
    """REDUCE, and BUILD when a state is given."""
    built = b"" if state is None else body(state) + b"b"
    return Raw(name(path) + body(args) + b"R" + built)


def new(path: str, state: Any) -> Raw:
    """NEWOBJ and BUILD, as pickle writes an ordinary object."""
    return Raw(name(path) + b")\x81" + body(state) + b"b")


def storage(key: str = "0", kind: str = "FloatStorage", numel: int = 4) -> Raw:
    """A persistent id."""
    return Raw(body(("storage", name(f"torch.{kind}"), key, "cpu", numel)) + b"Q")


def tensor(
    shape: tuple[Any, ...] = (2, 2),
    stride: tuple[Any, ...] = (2, 1),
    offset: int = 0,
    stored: Raw | None = None,
) -> Raw:
    """A view of a storage."""
    where = storage() if stored is None else stored
    hooks = call("collections.OrderedDict")
    return call("torch._utils._rebuild_tensor_v2", where, offset, shape, stride, False, hooks)


FOUR = np.arange(4, dtype="<f4").tobytes()


def write_zip(
    path: Path,
    contents: Any,
    storages: dict[str, bytes] | None = None,
    *,
    deflate: bool = False,
    **extra: bytes,
) -> Path:
    """A zip file as torch.save writes it; `extra` entries lie beside data.pkl."""
    kind = zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED
    pickled = (
        contents if isinstance(contents, bytes) and not isinstance(contents, Raw) else document(contents)
    )
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("archive/data.pkl", pickled)
        for entry, data in extra.items():
            archive.writestr(f"archive/{entry.replace('__', '.')}", data)
        for key, data in (storages if storages is not None else {"0": FOUR}).items():
            archive.writestr(f"archive/data/{key}", data)
    return path


def write_legacy(
    path: Path, contents: Any, *, keys: Any = ("0",), lengths: tuple[int, ...] = (4,), data: bytes = FOUR
) -> Path:
    """A file of the format before zip."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    parts = [document(value) for value in (MAGIC, 1001, system, contents, list(keys))]
    step = len(data) // max(1, len(lengths))
    for index, length in enumerate(lengths):
        parts += [length.to_bytes(8, "little"), data[index * step : (index + 1) * step]]
    path.write_bytes(b"".join(parts))
    return path
