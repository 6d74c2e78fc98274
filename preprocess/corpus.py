"""A corpus -> a prepared folder: one row per clip, by worker processes, resumable.

Each clip is an independent task on one core. Finished clips are kept while their files and the config are the
same; failed ones are retried by the next run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from lip2speech.data.utterance import RejectedClip, Utterance
from preprocess.clip import ClipProcessor, ClipTask
from preprocess.index import Index, IndexRow, failed_row
from preprocess.pool import WorkerFailed, run_pool
from preprocess.storage import ClipFiles, ClipStore
from preprocess.validation import check_id, check_inside

KEPT = "kept"


@dataclass(frozen=True)
class RunConfig:
    """How a corpus is prepared.

    Args:
        root: Root of the corpus; nothing outside it is read.
        part: Name of this part of the corpus, if several are written at once.
        store: Storage format.
        workers: Number of processes; 0 works in this process, without a time limit.
        timeout_s: Time limit per clip.
        overwrite: Whether to prepare finished clips again.
    """

    root: Path
    part: str = ""
    store: Callable[[Path, str], ClipStore] = ClipFiles
    workers: int = 2
    timeout_s: float = 600.0
    overwrite: bool = False


def prepare_corpus(
    clips: Iterable[Utterance | RejectedClip],
    out: Path,
    config: RunConfig,
    process: Callable[[ClipTask], IndexRow] | None = None,
) -> Iterator[IndexRow]:
    """Prepare every clip into `out`; yields one row per clip as it ends ("kept": done by an earlier run).

    Args:
        clips: The corpus.
        out: The prepared folder.
        config: How it is prepared.
        process: What a worker does with a clip; the default precomputes no targets.
    """
    with Index(out, config.part) as index:
        store = config.store(out, config.part)
        tasks = _Tasks(clips, index, store, config)
        try:
            for task, row in _run(tasks, process or ClipProcessor(), config):
                yield from tasks.pop_rejected()
                yield _finish(task, row, index, store)
            yield from tasks.pop_rejected()
        finally:
            for durable in store.close():
                index.add(durable)


def _finish(task: ClipTask, row: IndexRow, index: Index, store: ClipStore) -> IndexRow:
    """Add a worker's row to the index; returns the row to report."""
    if row == task.previous_row:
        # A corpus may correct a transcript or a split without a change of the video.
        clip = task.utterance
        row = replace(row, split=clip.split, speaker=clip.speaker, text=clip.text)
        index.add(row)
        return replace(row, status=KEPT, reason=row.reason or "done before")
    for durable in store.add(row) if row.status == "done" else [row]:
        index.add(durable)
    return row


class _Tasks:
    """Iterates over the tasks of a corpus, lazily; clips without a task get their row at once."""

    def __init__(
        self, clips: Iterable[Utterance | RejectedClip], index: Index, store: ClipStore, config: RunConfig
    ) -> None:
        self._clips, self._index, self._store, self._config = clips, index, store, config
        self._seen: set[str] = set()
        self._rejected: list[IndexRow] = []

    def __iter__(self) -> Iterator[ClipTask]:
        for clip in self._clips:
            try:
                yield self._task(clip)
            except ValueError as error:
                row = failed_row(clip, str(error))
                self._rejected.append(row)
                # Of two clips with the same id the first one owns the row.
                if clip.id not in self._seen:
                    self._index.add(row)

    def pop_rejected(self) -> Iterator[IndexRow]:
        """Rows of the clips rejected since the last call."""
        while self._rejected:
            yield self._rejected.pop(0)

    def _task(self, clip: Utterance | RejectedClip) -> ClipTask:
        if isinstance(clip, RejectedClip):
            raise ValueError(clip.reason)
        check_id(clip.id)
        if clip.id in self._seen:
            raise ValueError("an earlier clip has the same id and is used instead: rename one")
        check_inside(self._config.root, clip)
        self._seen.add(clip.id)
        previous = None if self._config.overwrite else self._index.rows.get(clip.id)
        if previous is None or previous.status == "failed":
            return ClipTask(clip, self._store.path(clip.id))
        exists = previous.status == "skipped" or self._store.contains(previous, clip)
        return ClipTask(clip, self._store.path(clip.id), previous if exists else None)


def _run(
    tasks: Iterable[ClipTask], process: Callable[[ClipTask], IndexRow], config: RunConfig
) -> Iterator[tuple[ClipTask, IndexRow]]:
    """Each task with its row, in order of completion."""
    if config.workers == 0:
        for task in tasks:
            yield task, process(task)
        return
    for task, row in run_pool(tasks, process, workers=config.workers, timeout_s=config.timeout_s):
        yield task, failed_row(task.utterance, row.reason) if isinstance(row, WorkerFailed) else row
