"""A corpus -> a prepared folder: one row per clip, by many processes, resumed where it stopped.

One clip is one independent job on one core. What is done stays as it is while its files and the recipe are
the same; what failed is tried again by the next run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from lip2speech.data.utterance import RejectedClip, Utterance
from preprocess.clip import ClipProcessor, ClipTask
from preprocess.index import Index, IndexRow, failed_row
from preprocess.pool import WorkerFailed, run_pool
from preprocess.storage import ClipFiles, ClipStore
from preprocess.validation import check_id, check_inside

KEPT = "kept"


def prepare_corpus(
    clips: Iterable[Utterance | RejectedClip],
    out: Path,
    *,
    root: Path,
    part: str = "",
    form: Callable[[Path, str], ClipStore] = ClipFiles,
    workers: int = 2,
    timeout_s: float = 600.0,
    overwrite: bool = False,
    prepare: Callable[[ClipTask], IndexRow] | None = None,
) -> Iterator[IndexRow]:
    """Prepares every clip into `out` and yields one row for each as it ends ("kept": done by an earlier run).

    Args:
        root: of the corpus; nothing outside it is read.
        part: name of this part of the corpus, where several are written at once.
        form: what is written.
        workers: processes; 0 works in this process, where nothing can be stopped.
        timeout_s: what one clip may take.
        overwrite: prepare also what is done already.
    """
    with Index(out, part) as index:
        written = form(out, part)
        plan = _Plan(clips, index, written, root=root, overwrite=overwrite)
        try:
            for work, row in _run(plan, prepare or ClipProcessor(), workers, timeout_s):
                yield from plan.refused()
                yield _settle(work, row, index, written)
            yield from plan.refused()
        finally:
            for safe in written.close():
                index.add(safe)


def _settle(work: ClipTask, row: IndexRow, index: Index, written: ClipStore) -> IndexRow:
    """Put a worker's row into the index; the row as the run tells it."""
    if row == work.known:
        # A corpus may correct a text or a split without its pictures changing.
        clip = work.utterance
        row = replace(row, split=clip.split, speaker=clip.speaker, text=clip.text)
        index.add(row)
        return replace(row, status=KEPT, reason=row.reason or "done before")
    for safe in written.take(row) if row.status == "done" else [row]:
        index.add(safe)
    return row


class _Plan:
    """The work to do, drawn clip by clip; what cannot be worked on gets its row at once."""

    def __init__(
        self,
        clips: Iterable[Utterance | RejectedClip],
        index: Index,
        form: ClipStore,
        *,
        root: Path,
        overwrite: bool,
    ) -> None:
        self._clips, self._index, self._form = clips, index, form
        self._root, self._overwrite = root, overwrite
        self._seen: set[str] = set()
        self._refused: list[IndexRow] = []

    def __iter__(self) -> Iterator[ClipTask]:
        for clip in self._clips:
            try:
                yield self._work(clip)
            except ValueError as error:
                row = failed_row(clip, str(error))
                self._refused.append(row)
                # Of two clips of one id the first has the row.
                if clip.id not in self._seen:
                    self._index.add(row)

    def refused(self) -> Iterator[IndexRow]:
        """Rows of the clips that were refused since this was last asked."""
        while self._refused:
            yield self._refused.pop(0)

    def _work(self, clip: Utterance | RejectedClip) -> ClipTask:
        if isinstance(clip, RejectedClip):
            raise ValueError(clip.reason)
        check_id(clip.id)
        if clip.id in self._seen:
            raise ValueError("a second clip has this id; the first one counts: rename one")
        check_inside(self._root, clip)
        self._seen.add(clip.id)
        known = None if self._overwrite else self._index.rows.get(clip.id)
        if known is None or known.status == "failed":
            return ClipTask(clip, self._form.path(clip.id))
        there = known.status == "skipped" or self._form.holds(known, clip)
        return ClipTask(clip, self._form.path(clip.id), known if there else None)


def _run(
    plan: Iterable[ClipTask], prepare: Callable[[ClipTask], IndexRow], workers: int, timeout_s: float
) -> Iterator[tuple[ClipTask, IndexRow]]:
    """Each work with its row, in the order in which they end."""
    if workers == 0:
        for work in plan:
            yield work, prepare(work)
        return
    for work, row in run_pool(plan, prepare, workers=workers, timeout_s=timeout_s):
        yield work, failed_row(work.utterance, row.reason) if isinstance(row, WorkerFailed) else row
