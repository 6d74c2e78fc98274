"""Reading untrusted files: regular files only, bounded reads, safetensors and JSON.

Every size that a file declares is compared with the file itself before anything is allocated. Safetensors and
JSON cannot run code; what remains to check is the length of the header, duplicate keys, and (in the
safetensors package) tensors that overlap, leave gaps or lie outside the file.
"""

from __future__ import annotations

import io
import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from torch import Tensor

MAX_PRINTED = 80  # characters of the file's own text in an error
MAX_LINE_BYTES = 1 << 16
MAX_HEADER_BYTES = 4 << 20  # the header of ten thousand tensors takes 1 MB
MAX_JSON_BYTES = 1 << 20
MAX_SAFETENSORS_BYTES = 4 << 30  # far above any codec; a sparse file can claim a terabyte
LENGTH_BYTES = 8


class ForeignFileError(ValueError):
    """A foreign checkpoint that is damaged, malicious, or of an unknown format."""


def printable(value: Any) -> str:
    """Text from the file for an error message: short, escaped; of a container only the type."""
    # A container may contain itself, or be small in memory and endless as text.
    text = str(value) if isinstance(value, str | int | float | None) else type(value).__name__
    return text[:MAX_PRINTED].encode("unicode_escape").decode() + ("..." if len(text) > MAX_PRINTED else "")


def open_regular(path: Path) -> BinaryIO:
    """The opened file; ForeignFileError for a folder, a pipe, a device or a missing file."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ForeignFileError(f"{path}: not a file; give the path of the checkpoint itself.")
        return path.open("rb")
    except OSError as error:
        raise ForeignFileError(f"{path}: cannot be read ({error.strerror}).") from None


class BoundedReader:
    """A file that raises EOFError before reading past its end: a declared length never becomes memory."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.size = file.seek(0, io.SEEK_END)
        file.seek(0)

    def read(self, count: int, /) -> bytes:
        """Exactly `count` bytes."""
        self._check(count)
        return self.file.read(count)

    def readline(self) -> bytes:
        """The next line, at most 64 KiB of it."""
        return self.file.readline(MAX_LINE_BYTES)

    def tell(self) -> int:
        """The position in the file."""
        return self.file.tell()

    def seek(self, position: int) -> None:
        """Move to a position."""
        self.file.seek(position)

    def skip(self, count: int) -> None:
        """Move `count` bytes forward."""
        self._check(count)
        self.file.seek(count, io.SEEK_CUR)

    def _check(self, count: int) -> None:
        if count > self.size - self.file.tell():
            raise EOFError("it ends too early; download it again.")


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """Name -> tensor of any shape; ForeignFileError for anything but a valid safetensors file."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = Path(path)
    with open_regular(path) as file:
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        size = os.fstat(file.fileno()).st_size - LENGTH_BYTES
        if size > MAX_SAFETENSORS_BYTES:
            raise ForeignFileError(f"{path}: has {size} bytes; at most {MAX_SAFETENSORS_BYTES} are read.")
        if not 0 < length <= min(MAX_HEADER_BYTES, size):
            raise ForeignFileError(
                f"{path}: its header claims {length} bytes of {max(size, 0)}; not safetensors, or truncated."
            )
        parse_json(file.read(length), path)
        file.seek(0)
        try:
            return load(file.read())
        except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
            reason = printable(str(error))
            raise ForeignFileError(f"{path}: not a valid safetensors file ({reason}).") from None


def read_json(path: str | Path) -> dict[str, Any]:
    """The values of a JSON file that is a mapping; ForeignFileError for anything else."""
    path = Path(path)
    with open_regular(path) as file:
        data = file.read(MAX_JSON_BYTES + 1)
    if len(data) > MAX_JSON_BYTES:
        raise ForeignFileError(f"{path}: longer than {MAX_JSON_BYTES} bytes; expected a config.")
    return parse_json(data, path)


def parse_json(data: bytes, path: Path) -> dict[str, Any]:
    """The mapping in a JSON text; duplicate keys and NaN are refused."""
    try:
        values = json.loads(data, object_pairs_hook=_reject_duplicates, parse_constant=_reject_nan)
    except (ValueError, RecursionError) as error:
        raise ForeignFileError(f"{path}: not valid JSON ({printable(str(error))}).") from None
    if not isinstance(values, dict):
        raise ForeignFileError(f"{path}: expected a mapping in JSON, got {printable(values)}.")
    return values


def _reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("duplicate key")
    return values


def _reject_nan(word: str) -> Any:
    raise ValueError(f"{word} is not a number")
