"""A PyTorch file, zip or the older format, opened as data: what it holds, and its weights on request.

Both formats are a pickle beside raw numbers. The pickle is read by `inert.py`; the numbers are read only for
the tensors that are asked for, after every size the file claims was found to fit the file. Knows no model.
"""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import torch
from torch import Tensor

from lip2speech.importers.inert import (
    ITEM_BYTES,
    MAX_PICKLE_BYTES,
    ForeignFileError,
    GlobalRef,
    StorageRef,
    TensorRef,
    read_inert,
    shown,
)

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
MAX_ENTRIES = 200_000
DAMAGE = (ValueError, RuntimeError, OSError, EOFError, struct.error, zipfile.BadZipFile)
"""What zipfile and our own checks raise for a file that is not what it says."""
DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class TorchFile:
    """A file that `torch.save` wrote; use it in a `with` statement.

    Attributes:
        contents: the saved object; tensors are `TensorRef`, classes are `Inert`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = open_regular(self.path)
        self._storages: dict[str, Tensor] = {}
        try:
            start = self._file.read(len(ZIP_MAGIC))
            self._file.seek(0)
            self._archive: ZipTorchFile | LegacyTorchFile = (
                ZipTorchFile(self._file) if start == ZIP_MAGIC else LegacyTorchFile(self._file)
            )
            self.contents = self._archive.contents
        except DAMAGE as error:
            self._file.close()
            raise ForeignFileError(f"{self.path}: {error}") from None

    def __enter__(self) -> TorchFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._storages.clear()

    def tensors(self, mapping: Any) -> dict[str, Tensor]:
        """The weights of a mapping name -> TensorRef; names that share memory in the file share it here."""
        if not isinstance(mapping, Mapping) or not mapping:
            raise ForeignFileError(f"{self.path}: expected named weights, got {shown(mapping)}.")
        for name, ref in mapping.items():
            if not isinstance(name, str) or not isinstance(ref, TensorRef):
                raise ForeignFileError(f"{self.path}: {shown(name)}: expected a tensor, got {shown(ref)}.")
        return {name: self._tensor(name, ref) for name, ref in mapping.items()}

    def _tensor(self, name: str, ref: TensorRef) -> Tensor:
        key = ref.storage.key
        if key not in self._storages:
            try:
                data = self._archive.read(ref.storage)
            except DAMAGE as error:
                raise ForeignFileError(f"{self.path}: {shown(name)}: {shown(str(error))}") from None
            dtype = DTYPES[ref.storage.kind]
            self._storages[key] = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        return self._storages[key].as_strided(ref.shape, ref.stride, ref.offset)


class ZipTorchFile:
    """The zip format (PyTorch 1.6 and later): NAME/data.pkl and one stored entry for each storage."""

    def __init__(self, file: BinaryIO) -> None:
        self.zip = zipfile.ZipFile(file)
        self.entries = _checked_entries(self.zip, file)
        pickles = [name for name in self.entries if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ForeignFileError(f"a zip with {len(pickles)} data.pkl where torch.save writes one.")
        self.root = pickles[0].removesuffix("data.pkl")
        if f"{self.root}constants.pkl" in self.entries:
            raise ForeignFileError("a TorchScript program, not weights; it is not run.")
        order = f"{self.root}byteorder"
        if order in self.entries and self.zip.read(self.entries[order])[:16] != b"little":
            raise ForeignFileError("its numbers are big-endian; save it again on a little-endian machine.")
        if self.entries[pickles[0]].file_size > MAX_PICKLE_BYTES:
            raise ForeignFileError(f"its pickle is longer than {MAX_PICKLE_BYTES} bytes without its weights.")
        self.contents = read_inert(io.BytesIO(self.zip.read(self.entries[pickles[0]])), self.find_storage)

    def find_storage(self, pid: Any) -> StorageRef:
        """The storage of a persistent id, its claimed size equal to its entry's."""
        ref = _storage_ref(pid)
        entry = self.entries.get(f"{self.root}data/{ref.key}")
        if entry is None:
            raise ForeignFileError(f"storage {shown(ref.key)} is not in the file; it is incomplete.")
        _check_claim(ref, entry.file_size)
        return ref

    def read(self, ref: StorageRef) -> bytearray:
        """The bytes of a storage, their checksum compared."""
        return bytearray(self.zip.read(self.entries[f"{self.root}data/{ref.key}"]))


class LegacyTorchFile:
    """The format before PyTorch 1.6: four pickles, then each storage's length and bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = BoundedReader(file)
        self.declared: dict[str, StorageRef] = {}
        self.offsets: dict[str, int] = {}
        try:
            magic = read_inert(self.file, _no_storage)
        except ForeignFileError:
            magic = None
        if magic != LEGACY_MAGIC:
            raise ForeignFileError(
                "not a PyTorch file; expected the zip format or the pickle format before it (not tar)."
            )
        protocol, system = read_inert(self.file, _no_storage), read_inert(self.file, _no_storage)
        if (
            protocol != LEGACY_PROTOCOL
            or not isinstance(system, dict)
            or system.get("little_endian") is not True
        ):
            raise ForeignFileError("an old PyTorch file of an unknown protocol or of a big-endian machine.")
        self.contents = read_inert(self.file, self.find_storage)
        self._find_offsets(read_inert(self.file, _no_storage))

    def find_storage(self, pid: Any) -> StorageRef:
        """The storage of a persistent id; what it claims must fit what is left of the file."""
        ref = _storage_ref(pid)
        if len(pid) > 5 and pid[5] is not None:
            raise ForeignFileError(
                f"storage {shown(ref.key)} is a view of another; this old form is not read."
            )
        if self.declared.setdefault(ref.key, ref) != ref:
            raise ForeignFileError(f"storage {shown(ref.key)} is described in two ways.")
        if ref.numel * ITEM_BYTES[ref.kind] > self.file.size - self.file.tell():
            raise ForeignFileError(
                f"storage {shown(ref.key)} claims {ref.numel} values; the file is smaller."
            )
        return ref

    def _find_offsets(self, keys: Any) -> None:
        """Where each storage's bytes start; keys, lengths and the end of the file must agree."""
        if not isinstance(keys, list) or {k for k in keys if isinstance(k, str)} != set(self.declared):
            raise ForeignFileError("the list of storages is not the one its tensors use.")
        if len(keys) != len(self.declared):
            raise ForeignFileError("a storage is listed twice.")
        for key in keys:
            ref = self.declared[key]
            if int.from_bytes(self.file.read(8), "little") != ref.numel:
                raise ForeignFileError(f"storage {shown(key)} has another length than its tensors say.")
            self.offsets[key] = self.file.tell()
            self.file.skip(ref.numel * ITEM_BYTES[ref.kind])

    def read(self, ref: StorageRef) -> bytearray:
        """The bytes of a storage."""
        self.file.seek(self.offsets[ref.key])
        return bytearray(self.file.read(ref.numel * ITEM_BYTES[ref.kind]))


class BoundedReader:
    """A file that refuses to read beyond its end, so that a claimed length never becomes memory."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.size = file.seek(0, io.SEEK_END)
        file.seek(0)

    def read(self, count: int) -> bytes:
        self._check(count)
        return self.file.read(count)

    def readline(self) -> bytes:
        return self.file.readline(1 << 16)  # pickle's text opcodes hold names and numbers

    def tell(self) -> int:
        return self.file.tell()

    def seek(self, position: int) -> None:
        self.file.seek(position)

    def skip(self, count: int) -> None:
        self._check(count)
        self.file.seek(count, io.SEEK_CUR)

    def _check(self, count: int) -> None:
        if count > self.size - self.file.tell():
            raise ForeignFileError("it ends too early; fetch it again.")


def open_regular(path: Path) -> BinaryIO:
    """The opened file; ForeignFileError for a folder, a pipe, a device, or nothing."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ForeignFileError(f"{path}: not a file; give the checkpoint's own path.")
        return path.open("rb")
    except OSError as error:
        raise ForeignFileError(f"{path}: cannot be read ({error.strerror}).") from None


def _checked_entries(archive: zipfile.ZipFile, file: BinaryIO) -> dict[str, zipfile.ZipInfo]:
    """Entries by name: stored as they are, no name twice, together no larger than the file."""
    infos = archive.infolist()
    size = file.seek(0, io.SEEK_END)
    if len(infos) > MAX_ENTRIES:
        raise ForeignFileError(f"a zip of {len(infos)} entries; at most {MAX_ENTRIES} are read.")
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise ForeignFileError(
                f"entry {shown(info.filename)} is compressed; torch.save stores its entries."
            )
        if info.flag_bits & 1:
            raise ForeignFileError(f"entry {shown(info.filename)} is encrypted.")
    if sum(info.file_size for info in infos) > size:
        raise ForeignFileError(f"its entries claim more than the file's {size} bytes.")
    entries = {info.filename: info for info in infos}
    if len(entries) != len(infos):
        raise ForeignFileError("two entries of one name.")
    return entries


def _storage_ref(pid: Any) -> StorageRef:
    """A storage from ("storage", type, key, location, numel, ...)."""
    if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage" or not isinstance(pid[1], GlobalRef):
        raise ForeignFileError("a storage is described in an unknown way.")
    kind = pid[1].path.removeprefix("torch.")
    if kind not in ITEM_BYTES:
        raise ForeignFileError(f"numbers of type {shown(pid[1].path)}; not a type of weights.")
    key, numel = pid[2], pid[4]
    if not isinstance(key, str) or type(numel) is not int or numel < 0:
        raise ForeignFileError("a storage without a key or a length.")
    return StorageRef(key, kind, numel)


def _check_claim(ref: StorageRef, held: int) -> None:
    claimed = ref.numel * ITEM_BYTES[ref.kind]
    if claimed != held:
        raise ForeignFileError(f"storage {shown(ref.key)} claims {claimed} bytes and has {held}.")


def _no_storage(pid: Any) -> StorageRef:
    raise ForeignFileError("weights where a plain value is expected.")
