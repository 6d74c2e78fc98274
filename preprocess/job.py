"""One whole run as plain values, to be sent to other processes and machines, divided into shards."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lip2speech.data import grid, synthetic
from lip2speech.data.utterance import RejectedClip, Utterance
from preprocess import folder, lrs3, voxceleb2
from preprocess.clip import ClipProcessor
from preprocess.corpus import RunConfig, prepare_corpus
from preprocess.index import IndexRow
from preprocess.storage import STORES
from preprocess.targets_config import TargetsConfig
from preprocess.validation import filter_clips

CORPORA: dict[str, Callable[[Path], Iterable[Utterance | RejectedClip]]] = {
    "folder": folder.utterances,
    "grid": grid.utterances,
    "lrs3": lrs3.utterances,
    "synth": synthetic.utterances,
    "voxceleb2": voxceleb2.utterances,
}


@dataclass(frozen=True)
class PreprocessJob:
    """A corpus, how it is prepared, and the number of its shards.

    Args:
        corpus: Layout of `root`, a key of `CORPORA`.
        root: The corpus as published.
        out: The prepared folder.
        targets: The targets to precompute.
        filelist: File with the clips to use; None for all.
        format: "files" or "webdataset", see `storage`.
        workers: Number of processes.
        timeout_s: Time limit per clip.
        overwrite: Whether to prepare finished clips again.
        num_shards: Number of shards; a clip's shard is a hash of its id.
    """

    corpus: str
    root: Path
    out: Path
    targets: TargetsConfig = field(default_factory=TargetsConfig)
    filelist: Path | None = None
    format: str = "files"
    workers: int = 2
    timeout_s: float = 600.0
    overwrite: bool = False
    num_shards: int = 1

    def absolute(self) -> PreprocessJob:
        """The same with absolute paths, for processes with another working directory."""
        return replace(
            self,
            root=self.root.absolute(),
            out=self.out.absolute(),
            targets=self.targets.absolute(),
            filelist=self.filelist.absolute() if self.filelist else None,
        )

    def clips(self, shards: Sequence[int]) -> Iterator[Utterance | RejectedClip]:
        """The clips of these shards. ValueError, OSError: the corpus or the file list is missing."""
        clips = CORPORA[self.corpus](self.root)
        if self.filelist is not None:
            clips = filter_clips(clips, self.root, self.filelist)
        return (
            clip for clip in clips if zlib.crc32(clip.id.encode(errors="replace")) % self.num_shards in shards
        )

    def run(self, shard: int) -> Iterator[IndexRow]:
        """Prepare one shard; yields a row per clip as it ends."""
        config = RunConfig(
            root=self.root,
            part=f"{shard:05d}-of-{self.num_shards:05d}" if self.num_shards > 1 else "",
            store=STORES[self.format],
            workers=self.workers,
            timeout_s=self.timeout_s,
            overwrite=self.overwrite,
        )
        return prepare_corpus(self.clips([shard]), self.out, config, ClipProcessor(self.targets))

    def rows(self, shard: int) -> list[IndexRow]:
        """All rows of one shard, for executors on other machines."""
        return list(self.run(shard))
