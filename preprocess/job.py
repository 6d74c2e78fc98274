"""The whole of one run as plain values: it travels to other processes and machines, and knows its shards."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lip2speech.data import grid, synthetic
from lip2speech.data.utterance import RejectedClip, Utterance
from preprocess import folder, lrs3, voxceleb2
from preprocess.clip import ClipProcessor
from preprocess.corpus import prepare_corpus
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
    """A corpus, what is made of it, and in how many shards.

    Args:
        corpus: how `root` is laid out.
        listed: a file that names the clips to take; None: all.
        form: "clips" or "shards", see `forms`.
        workers, timeout_s, overwrite: see `corpus.prepare_corpus`.
        num_shards: a clip belongs to one of them by a hash of its id, whatever else the corpus holds.
    """

    corpus: str
    root: Path
    out: Path
    recipe: TargetsConfig = field(default_factory=TargetsConfig)
    listed: Path | None = None
    form: str = "clips"
    workers: int = 2
    timeout_s: float = 600.0
    overwrite: bool = False
    num_shards: int = 1

    def absolute(self) -> PreprocessJob:
        """The same for a process that works elsewhere."""
        listed = self.listed.absolute() if self.listed else None
        root, out, recipe = self.root.absolute(), self.out.absolute(), self.recipe.absolute()
        return replace(self, root=root, out=out, recipe=recipe, listed=listed)

    def clips(self, shards: Sequence[int]) -> Iterator[Utterance | RejectedClip]:
        """What these shards hold. ValueError, OSError: no such corpus or list."""
        found = CORPORA[self.corpus](self.root)
        if self.listed is not None:
            found = filter_clips(found, self.root, self.listed)
        return (
            clip for clip in found if zlib.crc32(clip.id.encode(errors="replace")) % self.num_shards in shards
        )

    def run(self, shard: int) -> Iterator[IndexRow]:
        """Prepares one shard; a row for each clip as it ends."""
        return prepare_corpus(
            self.clips([shard]),
            self.out,
            root=self.root,
            part=f"{shard:05d}-of-{self.num_shards:05d}" if self.num_shards > 1 else "",
            form=STORES[self.form],
            workers=self.workers,
            timeout_s=self.timeout_s,
            overwrite=self.overwrite,
            prepare=ClipProcessor(self.recipe),
        )

    def rows(self, shard: int) -> list[IndexRow]:
        """All rows of one shard, for who is far away."""
        return list(self.run(shard))
