"""Tar shards of prepared clips read as streams: from front to end, one clip in memory at a time.

The layout is that of WebDataset (Aizman et al. 2019, "High performance I/O for large scale deep learning"):
files of a sample follow each other and share their name up to the first dot, here KEY.json (the facts of the
clip) and KEY.safetensors (its tensors). A pipe or a download will do, for nothing is ever sought.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from safetensors.torch import load
from torch import Tensor

from lip2speech.data.dataset import MIN_FRAMES, Clip, clip_from_row, read_fingerprints, read_rows

MAX_MEMBER_BYTES = 1 << 31  # bytes; more is no clip


@dataclass(frozen=True)
class StreamedClip(Clip):
    """A clip whose file is in memory."""

    payload: bytes = b""

    def tensors(self) -> dict[str, Tensor]:
        return load(self.payload)

    def fingerprints(self) -> dict[str, str]:
        return read_fingerprints(io.BytesIO(self.payload))


def stream_clips(folder: str | Path, split: str, *, min_frames: int = MIN_FRAMES) -> Iterator[StreamedClip]:
    """The clips of one split (or "a|b") in the shards of a prepared folder, in the order in which they lie.

    A clip that was prepared anew since, and now lies in a later shard, comes from there alone.

    Raises:
        ValueError: no index, no clip of that split in any shard, or a damaged shard.
    """
    folder, splits = Path(folder), split.split("|")
    good = [
        clip_from_row(folder, r) for r in read_rows(folder) if r["status"] == "done" and r["split"] in splits
    ]
    wanted = {(c.tar, c.id) for c in good if c.tar and c.n_frames >= min_frames}
    if not wanted:
        raise ValueError(f"{folder} has no clip of split {split!r} in shards.")
    for tar in sorted({tar for tar, _ in wanted}):
        with (folder / "shards" / tar).open("rb") as file:
            yield from (clip for clip in stream_tar(file, tar) if (tar, clip.id) in wanted)


def stream_tar(file: BinaryIO, name: str = "the shard") -> Iterator[StreamedClip]:
    """The clips of one shard, from any file that can be read. ValueError: it is damaged."""
    facts: dict[str, Any] = {}
    try:
        with tarfile.open(fileobj=file, mode="r|") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.size <= MAX_MEMBER_BYTES else None
                if content is None:
                    raise ValueError(f"its member {member.name!r} is no clip")
                key, _, suffix = member.name.partition(".")
                if suffix == "json":
                    facts = json.loads(content.read()) | {"key": key}
                elif suffix == "safetensors" and facts.get("key") == key:
                    yield _streamed(facts, content.read())
    except (tarfile.TarError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{name}: damaged shard ({error}); fetch or make it again.") from None


def _streamed(facts: dict[str, Any], payload: bytes) -> StreamedClip:
    known = {name: facts[name] for name in ("id", "split", "speaker", "text", "n_frames")}
    return StreamedClip(folder=Path(), **known, payload=payload)
