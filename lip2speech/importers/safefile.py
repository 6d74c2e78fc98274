"""Safetensors and JSON files of strangers, read as data: every size is compared with the file's own first.

The format itself can run nothing. What is left to check is what it claims: the length of its head, names
given twice, and (in the safetensors package) tensors that overlap, leave holes, or lie outside the file.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from torch import Tensor

from lip2speech.importers.inert import ForeignFileError, shown
from lip2speech.importers.torchfile import open_regular

MAX_HEAD_BYTES = 4 << 20  # a head of ten thousand tensors has 1 MB
MAX_JSON_BYTES = 1 << 20
MAX_FILE_BYTES = 4 << 30  # far above any codec; a file of holes may say it is a terabyte
LENGTH_BYTES = 8


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """Name -> tensor of any shape; ForeignFileError for anything else."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = Path(path)
    with open_regular(path) as file:
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        held = os.fstat(file.fileno()).st_size - LENGTH_BYTES
        if held > MAX_FILE_BYTES:
            raise ForeignFileError(f"{path}: has {held} bytes; at most {MAX_FILE_BYTES} are read.")
        if not 0 < length <= min(MAX_HEAD_BYTES, held):
            raise ForeignFileError(
                f"{path}: its head claims {length} bytes of {max(held, 0)}; not safetensors, or cut off."
            )
        parse_json(file.read(length), path)
        file.seek(0)
        try:
            return load(file.read())
        except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
            raise ForeignFileError(f"{path}: not a sound safetensors file ({shown(str(error))}).") from None


def read_json(path: str | Path) -> dict[str, Any]:
    """The values of a JSON file that is a mapping; ForeignFileError for anything else."""
    path = Path(path)
    with open_regular(path) as file:
        data = file.read(MAX_JSON_BYTES + 1)
    if len(data) > MAX_JSON_BYTES:
        raise ForeignFileError(f"{path}: longer than {MAX_JSON_BYTES} bytes; a config holds values only.")
    return parse_json(data, path)


def parse_json(data: bytes, path: Path) -> dict[str, Any]:
    """The mapping that JSON text holds; no key twice, no NaN."""
    try:
        values = json.loads(data, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ForeignFileError(f"{path}: its JSON is damaged ({shown(str(error))}).") from None
    if not isinstance(values, dict):
        raise ForeignFileError(f"{path}: expected a mapping in JSON, got {shown(values)}.")
    return values


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key stands there twice")
    return values


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number")
