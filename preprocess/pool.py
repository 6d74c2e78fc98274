"""Processes that do one thing at a time each, and are killed when it takes too long.

A decoder that hangs or crashes is native code: no exception and no signal handler reaches it, only the end of
its process does. So each worker has one item and a deadline, and whose worker ends is known. An item whose
worker died is tried once more, for the machine may have run out of memory by another's fault.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

ITEMS_PER_WORKER = 500  # native decoders and trackers leak
START_S = 300.0  # for imports, on a busy machine with a cold disk
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class WorkerFailed:
    """Stands for the result of an item whose worker was ended, or ended itself."""

    reason: str


class PoolError(OSError):
    """Workers cannot be started."""


def run_pool(
    items: Iterable[Item], function: Callable[[Item], Result], *, workers: int, timeout_s: float
) -> Iterator[tuple[Item, Result | WorkerFailed]]:
    """Every item with its result, in the order in which they end; `items` is drawn from as workers come free.

    Args:
        function: must not raise; it and the items travel to other processes.
        workers: processes, 1 or more.
        timeout_s: what one item may take.
    """
    for name in _ONE_THREAD:
        os.environ[name] = "1"
    queue = _Queue(items)
    crew = [_Worker(function, timeout_s) for _ in range(workers)]
    try:
        while True:
            for worker in crew:
                if worker.ready and worker.item is None and queue.more():
                    worker.give(*queue.pop())
            if not queue.more() and all(worker.item is None for worker in crew):
                return
            for worker in _settled([w for w in crew if w.item is not None or not w.ready]):
                if worker.item is None:
                    worker.greet()
                    continue
                given, attempt = worker.item
                result = worker.take()
                if result is None and attempt == 1:
                    queue.again.append((given, 2))
                else:
                    yield (
                        given,
                        result
                        or WorkerFailed("its worker process died twice (memory, or a decoder's crash)"),
                    )
    finally:
        for worker in crew:
            worker.stop()


class _Queue(Generic[Item]):
    """Items with the number of their attempt; those to try again come first."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items, self.again = iter(items), deque[tuple[Item, int]]()

    def more(self) -> bool:
        """Whether there is an item; draws it."""
        if not self.again:
            self.again.extend((item, 1) for item in islice(self._items, 1))
        return bool(self.again)

    def pop(self) -> tuple[Item, int]:
        """The next item and its attempt, 1 or 2."""
        return self.again.popleft()


def _settled(busy: list[_Worker]) -> list[_Worker]:
    """Workers that have something to say, have died, or are over their time; waits for the first of them."""
    left = min(worker.deadline for worker in busy) - time.monotonic()
    ready = wait([worker.pipe for worker in busy], max(0.0, left))
    now = time.monotonic()
    return [worker for worker in busy if worker.pipe in ready or now >= worker.deadline]


class _Worker(Generic[Item, Result]):
    """One process, and the next one in its place when it ends.

    Attributes:
        item: what it works on, and which attempt this is.
        ready: whether it has begun to listen.
        deadline: when its patience ends, by the monotonic clock.
    """

    def __init__(self, function: Callable[[Item], Result], timeout_s: float) -> None:
        self.function, self.timeout_s = function, timeout_s
        self.item: tuple[Item, int] | None = None
        self._start()

    def _start(self) -> None:
        # spawn, not fork: torch and mediapipe hold threads that do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, self.function), daemon=True)
        self.process.start()
        theirs.close()  # so that the end of the process is the end of the pipe
        self.served, self.ready, self.deadline = 0, False, time.monotonic() + START_S

    def greet(self) -> None:
        """Hear that it listens. PoolError: it ended before, or says nothing."""
        with suppress(EOFError, OSError):
            self.ready = self.pipe.poll() and self.pipe.recv()
        if not self.ready:
            self.stop()
            raise PoolError(f"a worker process did not start (exit code {self.process.exitcode}).")

    def give(self, item: Item, attempt: int) -> None:
        """Begin an item; its time runs from now."""
        self.item, self.deadline = (item, attempt), time.monotonic() + self.timeout_s
        with suppress(OSError):  # it has died since; `take` will say so
            self.pipe.send(item)

    def take(self) -> Result | WorkerFailed | None:
        """What came of the item; None where the process died over it."""
        self.item, result = None, None
        with suppress(EOFError, OSError):
            if self.pipe.poll():
                result = self.pipe.recv()
                self.served += 1
            else:
                result = WorkerFailed(f"took longer than {self.timeout_s:g} s and was stopped")
        if result is None or isinstance(result, WorkerFailed) or self.served >= ITEMS_PER_WORKER:
            self.stop()
            self._start()
        return result

    def stop(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.join(timeout=5)
        self.pipe.close()


def _serve(pipe: Connection, function: Callable[[Item], Result]) -> None:
    """A worker's life: says that it is ready, then gives a result for each item until nobody asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us
    pipe.send(True)
    while True:
        try:
            item = pipe.recv()
        except EOFError:
            return
        pipe.send(function(item))
