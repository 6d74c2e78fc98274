"""Worker processes: one item each, killed on a timeout, replaced when they die."""

import os
import time
from pathlib import Path

import pytest

from preprocess.pool import PoolError, WorkerFailed, run_pool


def work(item: str) -> str:
    """Replaces the processing of a clip: some items hang as a decoder does, some kill their process."""
    if item.startswith("hang"):
        while True:
            time.sleep(60)
    if item.startswith("die"):
        os._exit(9)
    if item.startswith("once:") and not (mark := Path(item.removeprefix("once:"))).exists():
        mark.touch()
        os._exit(9)
    return item.upper()


class Unpicklable:
    """Kills the worker that unpickles it."""

    def __reduce__(self) -> tuple:
        return os._exit, (7,)

    def __call__(self, item: str) -> str:
        return item


def test_hanging_and_dying_items_do_not_affect_others(tmp_path: Path) -> None:
    items = ["a", "hang", "b", "die", f"once:{tmp_path / 'mark'}", "c"]
    start = time.monotonic()
    results = dict(run_pool(iter(items), work, workers=2, timeout_s=1.0))
    assert time.monotonic() - start < 60
    assert set(results) == set(items)
    assert results.pop("hang") == WorkerFailed("took longer than 1 s and was stopped")
    assert results.pop("die") == WorkerFailed("its worker process died twice (memory, or a decoder's crash)")
    assert results == {item: item.upper() for item in results}


def test_no_items_give_no_results() -> None:
    assert list(run_pool([], work, workers=1, timeout_s=1.0)) == []


def test_workers_that_cannot_start_are_an_error() -> None:
    with pytest.raises(PoolError, match=r"a worker process did not start \(exit code 7\)"):
        list(run_pool(["a"], Unpicklable(), workers=1, timeout_s=1.0))


def test_closing_the_generator_stops_the_workers() -> None:
    rows = run_pool(["a", "hang"], work, workers=2, timeout_s=600.0)
    assert next(rows) == ("a", "A")
    start = time.monotonic()
    rows.close()
    assert time.monotonic() - start < 10
