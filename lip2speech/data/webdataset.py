"""Sequential reading of the tar shards of prepared clips, one clip in memory at a time.

The layout is that of WebDataset (Aizman et al. 2019, "High performance I/O for large scale deep learning"):
the files of a sample are adjacent and share their name up to the first dot, here KEY.json (metadata) and
KEY.safetensors (tensors). Reading never seeks, so pipes and downloads work.
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

MAX_MEMBER_BYTES = 1 << 31


@dataclass(frozen=True)
class StreamedClip(Clip):
    """A clip whose file is in memory."""

    payload: bytes = b""

    def tensors(self) -> dict[str, Tensor]:
        """roi (T, 96, 96) uint8, wav (640 T,) int16, and the precomputed targets."""
        return load(self.payload)

    def fingerprints(self) -> dict[str, str]:
        """Name of each precomputed target -> fingerprint of what extracted it."""
        return read_fingerprints(io.BytesIO(self.payload))


def stream_clips(folder: str | Path, split: str, *, min_frames: int = MIN_FRAMES) -> Iterator[StreamedClip]:
    """The clips of one split (or "a|b") in the shards of a prepared folder, in shard order.

    A clip that was prepared again, and so is in several shards, comes from the latest only.

    Raises:
        ValueError: There is no index, no clip of that split in any shard, or a shard is damaged.
    """
    folder, splits = Path(folder), split.split("|")
    rows = [r for r in read_rows(folder) if r["status"] == "done" and r["split"] in splits]
    clips = [clip_from_row(folder, row) for row in rows]
    wanted = {(c.tar, c.id) for c in clips if c.tar and c.n_frames >= min_frames}
    if not wanted:
        raise ValueError(f"{folder} has no clip of split {split!r} in shards.")
    for tar in sorted({tar for tar, _ in wanted}):
        with (folder / "shards" / tar).open("rb") as file:
            yield from (clip for clip in stream_tar(file, tar) if (tar, clip.id) in wanted)


def stream_tar(file: BinaryIO, name: str = "the shard") -> Iterator[StreamedClip]:
    """The clips of one shard, from any readable file object. ValueError: the shard is damaged."""
    metadata: dict[str, Any] = {}
    try:
        with tarfile.open(fileobj=file, mode="r|") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.size <= MAX_MEMBER_BYTES else None
                if content is None:
                    raise ValueError(f"its member {member.name!r} is not a clip")
                key, _, suffix = member.name.partition(".")
                if suffix == "json":
                    metadata = json.loads(content.read()) | {"key": key}
                elif suffix == "safetensors" and metadata.get("key") == key:
                    yield _streamed_clip(metadata, content.read())
    except (tarfile.TarError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{name}: damaged shard ({error}); download or prepare it again.") from None


def _streamed_clip(metadata: dict[str, Any], payload: bytes) -> StreamedClip:
    fields = {name: metadata[name] for name in ("id", "split", "speaker", "text", "n_frames")}
    return StreamedClip(folder=Path(), **fields, payload=payload)
