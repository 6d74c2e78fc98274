"""A corpus -> a prepared clip folder: many processes, one row per clip, resumed where it stopped.

One clip is one independent job on one core. The pool is renewed after some hundred clips (native decoders and
trackers leak). A worker that dies takes the pool along: the clips then under way are tried again one by
one, and the one that kills its worker a second time gets a failed row. Failed clips are tried again by the
next run.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

from lip2speech.data.corpus import Utterance
from preprocess.clip import prepare_clip
from preprocess.index import Index, Row, check_id, clip_path

Prepare = Callable[[Utterance, Path], Row]
_CLIPS_PER_WORKER = 500
_IN_FLIGHT_PER_WORKER = 3
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def prepare_corpus(
    utterances: Iterable[Utterance],
    out: Path,
    *,
    workers: int = 2,
    overwrite: bool = False,
    prepare: Prepare = prepare_clip,
) -> Iterator[Row]:
    """Prepares every utterance into `out` and yields one row per clip as it ends ("skipped": done by an
    earlier run).

    Args:
        workers: processes; 0 works in this process.
        overwrite: prepare also what is done already.
    """
    with Index(out) as index:
        todo: list[Utterance] = []
        for utterance, row in _sort_out(utterances, index, overwrite):
            if row is None:
                todo.append(utterance)
                continue
            if utterance.id not in index.rows:
                index.add(row)
            yield row
        for row in _run(todo, out, workers, prepare):
            index.add(row)
            yield row


def _sort_out(
    utterances: Iterable[Utterance], index: Index, overwrite: bool
) -> Iterator[tuple[Utterance, Row | None]]:
    """Each utterance with the row it gets without work, or None where there is work to do."""
    seen: set[str] = set()
    for utterance in utterances:
        try:
            check_id(utterance.id)
        except ValueError as error:
            yield utterance, _failed(utterance, str(error))
            continue
        if utterance.id in seen:
            yield utterance, _failed(utterance, "a second clip has this id; the first one counts: rename one")
            continue
        seen.add(utterance.id)
        if overwrite or not index.is_done(utterance.id):
            yield utterance, None
            continue
        # A corpus may correct a text or a split without its pictures changing.
        known = replace(
            index.rows[utterance.id], split=utterance.split, speaker=utterance.speaker, text=utterance.text
        )
        index.add(known)
        yield utterance, replace(known, status="skipped", reason="done before")


def _run(todo: list[Utterance], out: Path, workers: int, prepare: Prepare) -> Iterator[Row]:
    if workers == 0:
        for utterance in todo:
            yield _attempt(utterance, out, prepare)
        return
    for name in _ONE_THREAD:
        os.environ[name] = "1"
    waiting = deque(todo)
    while waiting:
        batch = deque(waiting.popleft() for _ in range(min(len(waiting), workers * _CLIPS_PER_WORKER)))
        suspects: list[Utterance] = []
        yield from _run_batch(batch, out, workers, prepare, suspects)
        waiting.extendleft(reversed(batch))
        for utterance in suspects:
            guilty: list[Utterance] = []
            yield from _run_batch(deque([utterance]), out, 1, prepare, guilty)
            if guilty:
                yield _failed(utterance, "its worker process died twice (memory, or a crash in a decoder)")


def _run_batch(
    batch: deque[Utterance], out: Path, workers: int, prepare: Prepare, suspects: list[Utterance]
) -> Iterator[Row]:
    """Rows of one pool's life, in the order in which clips end.

    Where a worker dies, the clips then under way are put into `suspects` and those not begun stay in `batch`.
    """
    under_way: dict[Future[Row], Utterance] = {}
    # spawn, not fork: torch and mediapipe hold threads that do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        while (batch or under_way) and not suspects:
            while batch and len(under_way) < workers * _IN_FLIGHT_PER_WORKER:
                try:
                    under_way[pool.submit(_attempt, batch[0], out, prepare)] = batch[0]
                except BrokenProcessPool:
                    suspects.append(batch.popleft())
                    break
                batch.popleft()
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                utterance = under_way.pop(future)
                try:
                    row = future.result()
                except BrokenProcessPool:
                    suspects.append(utterance)
                else:
                    yield row
    # A broken pool fails everything that was submitted, also what had just ended well: trying again is cheap.
    suspects.extend(under_way.values())


def _attempt(utterance: Utterance, out: Path, prepare: Prepare) -> Row:
    try:
        return prepare(utterance, clip_path(out, utterance.id))
    except Exception as error:  # one bad clip never stops the corpus; its row says what happened
        return _failed(utterance, f"{type(error).__name__}: {error}")


def _failed(utterance: Utterance, reason: str) -> Row:
    return Row(
        id=utterance.id,
        split=utterance.split,
        speaker=utterance.speaker,
        text=utterance.text,
        status="failed",
        reason=" ".join(reason.split())[:500],
    )
