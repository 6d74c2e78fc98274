"""PyTorch checkpoints, zip or legacy, read as data: the saved object, and its weights on request.

Both formats are a pickle beside raw numbers. `safe_pickle` reads the pickle; the numbers are read only for
the tensors that are asked for, once every size that the file declares is known to fit the file.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol

import torch
from torch import Tensor

from lip2speech.importers.foreign_file import BoundedReader, ForeignFileError, open_regular, printable
from lip2speech.importers.safe_pickle import MAX_PICKLE_BYTES, NAMES, GlobalRef, SafeUnpickler

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
MAX_ENTRIES = 200_000
MAX_DIMS = 8
MAX_SIZE = 1 << 48  # of one dimension, stride or offset: far beyond any file, far below overflow
DAMAGE = (ValueError, RuntimeError, OSError, EOFError, struct.error, zipfile.BadZipFile)
"""What zipfile and our own checks raise for a damaged file."""

TENSORS = ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2")
PARAMETER = "torch._utils._rebuild_parameter"
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


@dataclass(frozen=True)
class StorageRef:
    """The values of one storage in the file."""

    key: str
    dtype: torch.dtype
    numel: int

    @property
    def n_bytes(self) -> int:
        """Size in the file."""
        return self.numel * self.dtype.itemsize


@dataclass(frozen=True)
class TensorRef:
    """A view of a storage that is known to lie inside it."""

    storage: StorageRef
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class _Archive(Protocol):
    """One of the two formats.

    Attributes:
        contents: the saved object; tensors are `TensorRef`, objects `StubObject`.
    """

    contents: Any

    def check_storage(self, pid: tuple[Any, ...], ref: StorageRef) -> None:
        """Raise ForeignFileError unless the storage's declared size fits the file."""

    def read(self, ref: StorageRef) -> bytearray:
        """The bytes of a storage."""


class TorchFile:
    """A file written by `torch.save`; use it in a `with` statement.

    Attributes:
        contents: the saved object; tensors are `TensorRef`, objects `StubObject`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = open_regular(self.path)
        self._storages: dict[str, Tensor] = {}
        try:
            magic = self._file.read(len(ZIP_MAGIC))
            self._file.seek(0)
            self._archive: _Archive = (
                ZipTorchFile(self._file) if magic == ZIP_MAGIC else LegacyTorchFile(self._file)
            )
            self.contents: Any = self._archive.contents
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
            raise ForeignFileError(f"{self.path}: expected named weights, got {printable(mapping)}.")
        for name, ref in mapping.items():
            if not isinstance(name, str) or not isinstance(ref, TensorRef):
                raise ForeignFileError(
                    f"{self.path}: {printable(name)}: expected a tensor, got {printable(ref)}."
                )
        return {name: self._tensor(name, ref) for name, ref in mapping.items()}

    def _tensor(self, name: str, ref: TensorRef) -> Tensor:
        key, dtype = ref.storage.key, ref.storage.dtype
        if key not in self._storages:
            try:
                data = self._archive.read(ref.storage)
            except DAMAGE as error:
                raise ForeignFileError(f"{self.path}: {printable(name)}: {printable(str(error))}") from None
            self._storages[key] = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        return self._storages[key].as_strided(ref.shape, ref.stride, ref.offset)


class TorchUnpickler(SafeUnpickler):
    """Unpickles the object of a PyTorch file: storages become `StorageRef`, tensors `TensorRef`."""

    names = NAMES | {*TENSORS, PARAMETER, "torch.Size", "torch.device", *(f"torch.{n}" for n in DTYPES)}

    def __init__(self, file: BoundedReader, archive: _Archive) -> None:
        super().__init__(file)
        self.archive = archive

    def persistent_load(self, pid: Any) -> StorageRef:
        """The storage of ("storage", type, key, location, numel, ...)."""
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage" or type(pid[1]) is not GlobalRef:
            raise ForeignFileError("a storage is described in an unknown way.")
        dtype = DTYPES.get(pid[1].path.removeprefix("torch."))
        if dtype is None:
            raise ForeignFileError(f"numbers of type {printable(pid[1].path)}; not a type of weights.")
        key, numel = pid[2], pid[4]
        if not isinstance(key, str) or type(numel) is not int or numel < 0:
            raise ForeignFileError("a storage without a key or a length.")
        ref = StorageRef(key, dtype, numel)
        self.archive.check_storage(pid, ref)
        return ref

    def make(self, name: str, args: tuple[Any, ...]) -> Any:
        """A tensor reference for torch's rebuild functions; else as every pickle."""
        if name in TENSORS:
            return self._tensor_ref(args)
        if name == PARAMETER and args and isinstance(args[0], TensorRef):
            return args[0]
        return super().make(name, args)

    def _tensor_ref(self, args: tuple[Any, ...]) -> TensorRef:
        """The view (storage, offset, shape, stride, ...), as `_rebuild_tensor_v2` takes it."""
        storage, offset, shape, stride = args[:4]
        if not (isinstance(storage, StorageRef) and isinstance(shape, tuple) and isinstance(stride, tuple)):
            raise ForeignFileError(f"{self.context()}: a tensor without storage, shape or stride.")
        valid = all(type(n) is int and 0 <= n < MAX_SIZE for n in (offset, *shape, *stride))
        if not valid or len(shape) != len(stride) or len(shape) > MAX_DIMS:
            raise ForeignFileError(f"{self.context()}: a tensor with an impossible offset, shape or stride.")
        numel, end = 1, offset
        for size, step in zip(shape, stride, strict=True):
            numel *= size
            end += (size - 1) * step
        if numel > storage.numel or (numel and end >= storage.numel) or offset > storage.numel:
            view = f"shape {shape}, stride {stride}, offset {offset}"
            raise ForeignFileError(
                f"{self.context()}: a tensor of {view} does not fit its storage of {storage.numel} values."
            )
        return TensorRef(storage, offset, shape, stride)


class ZipTorchFile:
    """The zip format (PyTorch 1.6 and later): NAME/data.pkl, and one uncompressed entry per storage."""

    def __init__(self, file: BinaryIO) -> None:
        self.zip = zipfile.ZipFile(file)
        self.entries = _checked_entries(self.zip, file)
        pickles = [name for name in self.entries if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ForeignFileError(f"a zip with {len(pickles)} data.pkl; torch.save writes one.")
        self.root = pickles[0].removesuffix("data.pkl")
        if f"{self.root}constants.pkl" in self.entries:
            raise ForeignFileError("a TorchScript program, not weights; it is not executed.")
        order = self.entries.get(f"{self.root}byteorder")
        if order and (order.file_size != len(b"little") or self.zip.read(order) != b"little"):
            raise ForeignFileError("big-endian; save it again on a little-endian machine.")
        if self.entries[pickles[0]].file_size > MAX_PICKLE_BYTES:
            raise ForeignFileError(f"its pickle is longer than {MAX_PICKLE_BYTES} bytes without the weights.")
        data = BoundedReader(io.BytesIO(self.zip.read(self.entries[pickles[0]])))
        self.contents: Any = TorchUnpickler(data, self).load()

    def check_storage(self, pid: tuple[Any, ...], ref: StorageRef) -> None:
        """The declared size is that of the entry."""
        entry = self.entries.get(f"{self.root}data/{ref.key}")
        if entry is None:
            raise ForeignFileError(f"storage {printable(ref.key)} is not in the file; it is incomplete.")
        if ref.n_bytes != entry.file_size:
            raise ForeignFileError(
                f"storage {printable(ref.key)} claims {ref.n_bytes} bytes and has {entry.file_size}."
            )

    def read(self, ref: StorageRef) -> bytearray:
        """The bytes of a storage; its CRC is checked."""
        return bytearray(self.zip.read(self.entries[f"{self.root}data/{ref.key}"]))


class LegacyTorchFile:
    """The format before PyTorch 1.6: five pickles, then the length and bytes of each storage."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = BoundedReader(file)
        self.declared: dict[str, StorageRef] = {}
        self.offsets: dict[str, int] = {}
        try:
            magic = SafeUnpickler(self.file).load()
        except ForeignFileError:
            magic = None
        if magic != LEGACY_MAGIC:
            raise ForeignFileError(
                "not a PyTorch file; expected the zip format or the pickle format before it (not tar)."
            )
        protocol, system = SafeUnpickler(self.file).load(), SafeUnpickler(self.file).load()
        little = isinstance(system, dict) and system.get("little_endian") is True
        if protocol != LEGACY_PROTOCOL or not little:
            raise ForeignFileError("a legacy PyTorch file of an unknown protocol, or big-endian.")
        self.contents: Any = TorchUnpickler(self.file, self).load()
        self._find_offsets(SafeUnpickler(self.file).load())

    def check_storage(self, pid: tuple[Any, ...], ref: StorageRef) -> None:
        """The declared size fits the rest of the file."""
        if len(pid) > 5 and pid[5] is not None:
            raise ForeignFileError(
                f"storage {printable(ref.key)} is a view of another; this old format is not supported."
            )
        if self.declared.setdefault(ref.key, ref) != ref:
            raise ForeignFileError(f"storage {printable(ref.key)} is described in two ways.")
        if ref.n_bytes > self.file.size - self.file.tell():
            raise ForeignFileError(
                f"storage {printable(ref.key)} claims {ref.numel} values; the file is smaller."
            )

    def read(self, ref: StorageRef) -> bytearray:
        """The bytes of a storage."""
        self.file.seek(self.offsets[ref.key])
        return bytearray(self.file.read(ref.n_bytes))

    def _find_offsets(self, keys: Any) -> None:
        """Where the bytes of each storage start; keys, lengths and the end of the file must agree."""
        if not isinstance(keys, list) or {k for k in keys if isinstance(k, str)} != set(self.declared):
            raise ForeignFileError("the list of storages is not the one its tensors use.")
        if len(keys) != len(self.declared):
            raise ForeignFileError("a storage is listed twice.")
        for key in keys:
            ref = self.declared[key]
            if int.from_bytes(self.file.read(8), "little") != ref.numel:
                raise ForeignFileError(f"storage {printable(key)} has another length than its tensors need.")
            self.offsets[key] = self.file.tell()
            self.file.skip(ref.n_bytes)


def _checked_entries(archive: zipfile.ZipFile, file: BinaryIO) -> dict[str, zipfile.ZipInfo]:
    """Entries by name: uncompressed, no duplicates, together no larger than the file."""
    infos = archive.infolist()
    size = file.seek(0, io.SEEK_END)
    if len(infos) > MAX_ENTRIES:
        raise ForeignFileError(f"a zip of {len(infos)} entries; at most {MAX_ENTRIES} are read.")
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise ForeignFileError(
                f"entry {printable(info.filename)} is compressed; torch.save does not compress."
            )
        if info.flag_bits & 1:
            raise ForeignFileError(f"entry {printable(info.filename)} is encrypted.")
    if sum(info.file_size for info in infos) > size:
        raise ForeignFileError(f"its entries claim more than the file's {size} bytes.")
    entries = {info.filename: info for info in infos}
    if len(entries) != len(infos):
        raise ForeignFileError("two entries of one name.")
    return entries
