"""Worker processes that take one item at a time and are killed when it takes too long.

A hanging or crashing decoder is native code: no exception and no signal handler reaches it, only the end of
its process. So each worker has one item and a deadline, and it is known whose worker ended. An item whose
worker died is retried once, since another process may have used up the memory.
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
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_ITEMS_PER_WORKER = 500  # native decoders and trackers leak memory
STARTUP_TIMEOUT_S = 300.0  # for imports, on a busy machine with a cold disk cache
_THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class WorkerFailed:
    """Result of an item whose worker was killed or died."""

    reason: str


class PoolError(OSError):
    """Workers cannot be started."""


def run_pool(
    items: Iterable[Item], function: Callable[[Item], Result], *, workers: int, timeout_s: float
) -> Iterator[tuple[Item, Result | WorkerFailed]]:
    """Every item with its result, in order of completion; items are drawn lazily.

    Args:
        items: What to process; must be picklable.
        function: Must be picklable and must not raise.
        workers: Number of processes, 1 or more.
        timeout_s: Time limit per item.
    """
    for name in _THREAD_LIMITS:
        os.environ[name] = "1"
    queue = _Queue(items)
    pool: list[_Worker[Item, Result]] = [_Worker(function, timeout_s) for _ in range(workers)]
    try:
        while _submit_all(pool, queue):
            for worker in _wait_any([w for w in pool if w.item is not None or not w.ready]):
                if worker.item is None:
                    worker.wait_ready()
                    continue
                item, attempt = worker.item
                result = worker.collect()
                if result is None and attempt == 1:
                    queue.retries.append((item, 2))
                elif result is None:
                    yield item, WorkerFailed("its worker process died twice (memory, or a decoder's crash)")
                else:
                    yield item, result
    finally:
        for worker in pool:
            worker.stop()


def _submit_all(pool: list[_Worker[Item, Result]], queue: _Queue[Item]) -> bool:
    """Submit items to idle workers; whether any work is left."""
    for worker in pool:
        if worker.ready and worker.item is None and queue.has_next():
            worker.submit(*queue.pop())
    return queue.has_next() or any(worker.item is not None for worker in pool)


class _Queue(Generic[Item]):
    """Items with the number of their attempt; retries come first."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items, self.retries = iter(items), deque[tuple[Item, int]]()

    def has_next(self) -> bool:
        """Whether there is another item; draws it from the iterator."""
        if not self.retries:
            self.retries.extend((item, 1) for item in islice(self._items, 1))
        return bool(self.retries)

    def pop(self) -> tuple[Item, int]:
        """The next item and its attempt, 1 or 2."""
        return self.retries.popleft()


def _wait_any(busy: list[_Worker[Item, Result]]) -> list[_Worker[Item, Result]]:
    """Block until workers have a message, have died or are past their deadline, and return those."""
    timeout = min(worker.deadline for worker in busy) - time.monotonic()
    readable = wait([worker.pipe for worker in busy], max(0.0, timeout))
    now = time.monotonic()
    return [worker for worker in busy if worker.pipe in readable or now >= worker.deadline]


class _Worker(Generic[Item, Result]):
    """One process, which is replaced when it ends.

    Attributes:
        item: The current item and its attempt.
        ready: Whether the process has started.
        deadline: When the process is killed, by the monotonic clock.
    """

    def __init__(self, function: Callable[[Item], Result], timeout_s: float) -> None:
        self.function, self.timeout_s = function, timeout_s
        self.item: tuple[Item, int] | None = None
        self._start()

    def _start(self) -> None:
        # spawn, not fork: torch and mediapipe hold threads that do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self.pipe, child = context.Pipe()
        self.process = context.Process(target=_serve, args=(child, self.function), daemon=True)
        self.process.start()
        child.close()  # so that the pipe ends with the process
        self.n_served, self.ready, self.deadline = 0, False, time.monotonic() + STARTUP_TIMEOUT_S

    def wait_ready(self) -> None:
        """Receive the message that the process has started. PoolError: it has died or timed out."""
        with suppress(EOFError, OSError):
            self.ready = self.pipe.poll() and self.pipe.recv()
        if not self.ready:
            self.stop()
            raise PoolError(f"a worker process did not start (exit code {self.process.exitcode}).")

    def submit(self, item: Item, attempt: int) -> None:
        """Send an item to the process and start its time limit."""
        self.item, self.deadline = (item, attempt), time.monotonic() + self.timeout_s
        with suppress(OSError):  # the process has died; `collect` reports it
            self.pipe.send(item)

    def collect(self) -> Result | WorkerFailed | None:
        """The item's result; None if the process died."""
        self.item = None
        result: Result | WorkerFailed | None = None
        with suppress(EOFError, OSError):
            if self.pipe.poll():
                result = self.pipe.recv()
                self.n_served += 1
            else:
                result = WorkerFailed(f"took longer than {self.timeout_s:g} s and was stopped")
        if result is None or isinstance(result, WorkerFailed) or self.n_served >= MAX_ITEMS_PER_WORKER:
            self.stop()
            self._start()
        return result

    def stop(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.join(timeout=5)
        self.pipe.close()


def _serve(pipe: Connection[Any, Any], function: Callable[[Any], Any]) -> None:
    """Main loop of a worker process: announce the start, then answer each item until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which stops the workers
    pipe.send(True)
    while True:
        try:
            item = pipe.recv()
        except EOFError:
            return
        pipe.send(function(item))
