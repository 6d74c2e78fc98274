"""A checkpoint folder: config.yaml, model.safetensors, README.md (the model card) and SHA256SUMS.

It holds weights and values only; nothing in it is ever executed. A damaged, incomplete or mismatched folder
is an error that names the file or the tensor, and no weight ever keeps its random initialisation.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lip2speech.checkpoint.errors import CheckpointError, list_names
from lip2speech.checkpoint.weights import to_storable
from lip2speech.config import ConfigError, dump_yaml, load_yaml
from lip2speech.utils.files import naming_full_disk

CONFIG = "config.yaml"
WEIGHTS = "model.safetensors"
MODEL_CARD = "README.md"
CHECKSUMS = "SHA256SUMS"
FILES = (CONFIG, WEIGHTS, MODEL_CARD)
MAX_HEADER_BYTES = 1 << 20
"""Of the list of tensors at the start of the weights: about 8000 tensors; the largest model has 1000."""


@dataclass(frozen=True)
class Checkpoint:
    """Contents of a folder; floating-point tensors are float32 whatever precision they were stored in."""

    config: dict[str, Any]
    tensors: dict[str, Tensor]
    card: str
    folder: Path

    @property
    def kind(self) -> Any:
        """What the folder holds ("codec", "lip2speech", ...); None if its config does not say."""
        return self.config.get("kind")

    def subset(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names start with `prefix`, without the prefix."""
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}

    def require(self, *kinds: str, keys: tuple[str, ...] = (), hint: str = "") -> Checkpoint:
        """This checkpoint, if it is of one of `kinds` and its config has `keys`.

        Args:
            kinds: accepted values of `kind`.
            keys: config keys that must be present.
            hint: how to obtain such a folder, appended to the error.

        Raises:
            CheckpointError: the folder holds something else.
        """
        if self.kind not in kinds:
            expected = " or ".join(map(repr, kinds))
            raise CheckpointError(
                f"{self.folder} holds {self.kind!r}, expected {expected}{hint and f'; {hint}'}."
            )
        if missing := [key for key in keys if key not in self.config]:
            raise CheckpointError(f"{self.folder}: {CONFIG} lacks {' and '.join(missing)}.")
        return self


def load(folder: str | Path, *kinds: str, keys: tuple[str, ...] = (), hint: str = "") -> Checkpoint:
    """Read a checkpoint folder after verifying its checksums; floating-point tensors come back as float32.

    Args:
        folder: the checkpoint folder.
        kinds: see `Checkpoint.require`; any kind is accepted if none is given.
        keys: see `Checkpoint.require`.
        hint: see `Checkpoint.require`.

    Raises:
        CheckpointError: a missing or damaged folder, or one that holds something else.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as load_tensors

    folder = Path(folder)
    verify(folder)
    _check_header(folder / WEIGHTS)
    try:
        config = load_yaml(folder / CONFIG)
        card = (folder / MODEL_CARD).read_text(encoding="utf-8")
        tensors = load_tensors((folder / WEIGHTS).read_bytes())
    except (ConfigError, SafetensorError, OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{folder}: cannot be read ({error}).") from error
    tensors = {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
    loaded = Checkpoint(config, tensors, card, folder)
    return loaded.require(*kinds, keys=keys, hint=hint) if kinds else loaded


def save(
    folder: str | Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    card: str,
    *,
    overwrite: bool = False,
    fp16: bool = False,
) -> None:
    """Write a checkpoint folder atomically (a temporary folder next to it, then a rename).

    Args:
        folder: must not exist, unless `overwrite` is set and it is itself a checkpoint folder.
        config: values of the model's dataclass (`config.to_dict`).
        tensors: name -> tensor of any shape.
        card: text of README.md.
        overwrite: replace an existing checkpoint folder.
        fp16: store floating-point tensors as float16, at half the size.

    Raises:
        CheckpointError: the folder cannot be replaced, or a tensor is not finite.
    """
    from safetensors.torch import save as serialize

    folder = Path(folder)
    check_replaceable(folder, overwrite)
    stored = {name: to_storable(name, tensor, fp16=fp16) for name, tensor in tensors.items()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _atomic_folder(folder) as temporary:
        (temporary / WEIGHTS).write_bytes(serialize(stored, metadata={"format": "pt"}))
        (temporary / MODEL_CARD).write_text(card, encoding="utf-8")
        _write_config(temporary, config)


def replace_config(folder: str | Path, config: Mapping[str, Any]) -> None:
    """Replace the config of a checkpoint folder atomically; weights and model card stay byte for byte.

    Raises:
        CheckpointError: a missing or damaged folder, or one with files that are not a checkpoint's.
    """
    folder = Path(folder).resolve()
    verify(folder)
    check_replaceable(folder, overwrite=True)
    with _atomic_folder(folder) as temporary:
        for name in (WEIGHTS, MODEL_CARD):
            shutil.copyfile(folder / name, temporary / name)
        _write_config(temporary, config)


def verify(folder: str | Path) -> None:
    """Compare every file with SHA256SUMS.

    Raises:
        CheckpointError: names the first file that is missing or differs.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder}: no such checkpoint folder; give a folder that holds {CONFIG} and {WEIGHTS}."
        )
    for name in (CHECKSUMS, *FILES):
        if not (folder / name).is_file():
            raise CheckpointError(
                f"{folder}: {name} is missing; a checkpoint holds {', '.join(FILES)} and {CHECKSUMS}."
            )
    checksums = _read_checksums(folder / CHECKSUMS)
    for name in FILES:
        if name not in checksums:
            raise CheckpointError(
                f"{folder / CHECKSUMS}: has no line for {name}; download the checkpoint again."
            )
        if _sha256(folder / name) != checksums[name]:
            raise CheckpointError(
                f"{folder / name}: differs from its line in {CHECKSUMS}; download the checkpoint again."
            )


def fingerprint(folder: str | Path) -> str:
    """Sixteen hex digits that identify a checkpoint by its config and weights, but not by its model card."""
    verify(folder)
    checksums = _read_checksums(Path(folder) / CHECKSUMS)
    return hashlib.sha256((checksums[CONFIG] + checksums[WEIGHTS]).encode()).hexdigest()[:16]


def check_replaceable(folder: Path, overwrite: bool) -> None:
    """Check that a checkpoint may be written at `folder`: only an empty or a checkpoint folder is replaced.

    Raises:
        CheckpointError: it is a file, exists without `overwrite`, or holds other files.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: is a file; give a folder name for the checkpoint.")
    present = {path.name for path in folder.iterdir()}
    if present and not overwrite:
        raise CheckpointError(f"{folder}: already exists; choose another name or pass overwrite.")
    if foreign := sorted(present - {*FILES, CHECKSUMS}):
        raise CheckpointError(f"{folder}: holds {list_names(foreign)}, so it is no checkpoint folder.")


def replace_folder(temporary: Path, folder: Path) -> None:
    """Rename `temporary` to `folder`; an existing one is moved aside first and deleted last."""
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


@contextmanager
def _atomic_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that replaces `folder` if the block succeeds, and disappears otherwise."""
    with naming_full_disk(folder):
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            temporary.chmod(0o777 & ~_umask())  # mkdtemp makes it private, but checkpoints are for sharing
            yield temporary
            replace_folder(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write the config, then the checksums of all files, which must exist by now."""
    (folder / CONFIG).write_text(dump_yaml(config), encoding="utf-8")
    lines = [f"{_sha256(folder / name)}  {name}\n" for name in FILES]
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def _check_header(path: Path) -> None:
    """CheckpointError if the weights list more tensors than any model has; reading them takes minutes."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if size > MAX_HEADER_BYTES:
        raise CheckpointError(
            f"{path}: its list of tensors takes {size} bytes, expected {MAX_HEADER_BYTES} at most; "
            "it is damaged or no model, download it from its source again."
        )


def _read_checksums(path: Path) -> dict[str, str]:
    checksums = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, name = line.strip().partition("  ")
        checksums[name.removeprefix("*")] = digest.lower()
    return checksums


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
