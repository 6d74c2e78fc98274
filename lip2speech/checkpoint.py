"""A checkpoint is a folder: config.yaml, model.safetensors, README.md (its card) and SHA256SUMS.

Weights and values only: nothing in the folder is ever run. A damaged, incomplete or mismatched folder is an
error that names the file or the tensor; no weight is ever left at its random start. Knows no model.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lip2speech.config import ConfigError, dump_yaml, load_yaml

CONFIG = "config.yaml"
WEIGHTS = "model.safetensors"
CARD = "README.md"
SUMS = "SHA256SUMS"
FILES = (CONFIG, WEIGHTS, CARD)
MAX_NAMES = 5
"""How many tensor names one error lists."""


class CheckpointError(ValueError):
    """A checkpoint folder or its tensors are missing, damaged, or made for another model."""


@dataclass(frozen=True)
class Checkpoint:
    """What a folder holds; floating-point tensors are float32 whatever they were stored as."""

    config: dict[str, Any]
    tensors: dict[str, Tensor]
    card: str
    folder: Path

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names start with `prefix`, without it."""
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}


def save(
    folder: str | Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    card: str,
    *,
    overwrite: bool = False,
    fp16: bool = False,
) -> None:
    """Write a checkpoint folder whole or not at all (a temporary folder beside it, then a rename).

    Args:
        folder: where; must not exist unless `overwrite` and it is a checkpoint folder itself.
        config: values of the model's dataclass (`config.to_dict`).
        tensors: name -> tensor of any shape.
        card: the text of README.md.
        fp16: store floating-point tensors as float16, half the size.
    """
    folder = Path(folder)
    check_replaceable(folder, overwrite)
    stored = {name: storable(name, tensor, fp16) for name, tensor in tensors.items()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        temporary.chmod(0o777 & ~_umask())  # mkdtemp keeps others out; a checkpoint is for sharing
        _write_files(temporary, config, stored, card)
        replace_folder(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def replace_config(folder: str | Path, config: Mapping[str, Any]) -> None:
    """Give a checkpoint folder other values; weights and card stay byte for byte. Whole or not at all.

    Raises:
        CheckpointError: no such folder, a damaged one, or one that holds files beside a checkpoint's.
    """
    folder = Path(folder).resolve()
    verify(folder)
    check_replaceable(folder, overwrite=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        temporary.chmod(0o777 & ~_umask())
        for name in (WEIGHTS, CARD):
            shutil.copyfile(folder / name, temporary / name)
        _write_config(temporary, config)
        replace_folder(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load(folder: str | Path) -> Checkpoint:
    """Read a checkpoint folder after checking every sum; floating-point tensors come back as float32."""
    from safetensors import SafetensorError
    from safetensors.torch import load as load_tensors

    folder = Path(folder)
    verify(folder)
    try:
        config = load_yaml(folder / CONFIG)
        card = (folder / CARD).read_text(encoding="utf-8")
        tensors = load_tensors((folder / WEIGHTS).read_bytes())
    except (ConfigError, SafetensorError, OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{folder}: cannot be read ({error}).") from error
    return Checkpoint(
        config=config,
        tensors={name: t.float() if t.is_floating_point() else t for name, t in tensors.items()},
        card=card,
        folder=folder,
    )


def verify(folder: str | Path) -> None:
    """Compare every file with SHA256SUMS; CheckpointError names the first that is missing or differs."""
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder}: no such checkpoint folder; give a folder that holds {CONFIG} and {WEIGHTS}."
        )
    for name in (SUMS, *FILES):
        if not (folder / name).is_file():
            raise CheckpointError(
                f"{folder}: {name} is missing; a checkpoint holds {', '.join(FILES)} and {SUMS}."
            )
    sums = _read_sums(folder / SUMS)
    for name in FILES:
        if name not in sums:
            raise CheckpointError(f"{folder / SUMS}: has no line for {name}; fetch the checkpoint again.")
        if _sha256(folder / name) != sums[name]:
            raise CheckpointError(
                f"{folder / name}: differs from its line in {SUMS}; fetch the checkpoint again."
            )


def fingerprint(folder: str | Path) -> str:
    """Sixteen digits that tell a checkpoint from any other: of its config and weights, not of its card."""
    verify(folder)
    sums = _read_sums(Path(folder) / SUMS)
    return hashlib.sha256((sums[CONFIG] + sums[WEIGHTS]).encode()).hexdigest()[:16]


def load_into(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give every parameter and buffer of `module` its tensor; nothing may be left over on either side."""
    check_fit(module, tensors)
    for name, given in tensors.items():
        if given.is_floating_point() and not torch.isfinite(given).all():
            raise CheckpointError(
                f"{name}: holds NaN or infinite values; the checkpoint is damaged, fetch it again."
            )
    module.load_state_dict(dict(tensors), strict=True)


def check_fit(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """CheckpointError unless names and shapes are those of `module`, which may be on `meta`."""
    own = module.state_dict()
    kind = type(module).__name__
    missing = [name for name in own if name not in tensors]
    extra = [name for name in tensors if name not in own]
    if missing or extra:
        parts = [f"{len(missing)} missing: {_names(missing)}"] if missing else []
        parts += [f"{len(extra)} unknown: {_names(extra)}"] if extra else []
        raise CheckpointError(
            f"tensors do not fit {kind} ({'; '.join(parts)}); use the config they were saved with."
        )
    for name, expected in own.items():
        given = tensors[name]
        if given.shape != expected.shape:
            raise CheckpointError(
                f"{name}: {kind} expects shape {tuple(expected.shape)}, got {tuple(given.shape)}."
            )


def storable(name: str, tensor: Tensor, fp16: bool) -> Tensor:
    """A contiguous CPU copy (safetensors refuses shared memory), in float16 when `fp16`."""
    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        raise CheckpointError(f"{name}: holds NaN or infinite values; such weights are not saved.")
    copy = tensor.detach().to("cpu", torch.float16 if fp16 and tensor.is_floating_point() else tensor.dtype)
    if copy.is_floating_point() and not torch.isfinite(copy).all():
        raise CheckpointError(f"{name}: is too large for float16; save it with fp16=False.")
    return copy.clone(memory_format=torch.contiguous_format)


def _write_files(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor], card: str) -> None:
    from safetensors.torch import save as pack

    (folder / WEIGHTS).write_bytes(pack(dict(tensors), metadata={"format": "pt"}))
    (folder / CARD).write_text(card, encoding="utf-8")
    _write_config(folder, config)


def _write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """The config, and the sums of all files, which must be there by now."""
    (folder / CONFIG).write_text(dump_yaml(config), encoding="utf-8")
    lines = [f"{_sha256(folder / name)}  {name}\n" for name in FILES]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def check_replaceable(folder: Path, overwrite: bool) -> None:
    """CheckpointError unless a checkpoint may be written at `folder`.

    Only a checkpoint folder or an empty one is ever replaced: a slip of the pen must not delete a home.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: is a file; give a folder name for the checkpoint.")
    held = {path.name for path in folder.iterdir()}
    if held and not overwrite:
        raise CheckpointError(f"{folder}: already exists; choose another name or pass overwrite.")
    if foreign := sorted(held - {*FILES, SUMS}):
        raise CheckpointError(
            f"{folder}: holds {_names(foreign)}, so it is no checkpoint folder; it is left alone."
        )


def replace_folder(temporary: Path, folder: Path) -> None:
    """Rename `temporary`, beside it, to `folder`; an old one steps aside and goes when the new one stands."""
    if not folder.exists():
        os.rename(temporary, folder)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
    os.rename(folder, aside / folder.name)
    try:
        os.rename(temporary, folder)
    except OSError:
        os.rename(aside / folder.name, folder)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _read_sums(path: Path) -> dict[str, str]:
    sums = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, name = line.strip().partition("  ")
        sums[name.removeprefix("*")] = digest.lower()
    return sums


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _names(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more
