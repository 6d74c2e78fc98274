"""What a run shows: a bar with clips per second and the time left; without a terminal, a line at times."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

from preprocess.index import IndexRow

LINE_S = 5.0


def report(rows: Iterable[IndexRow], total: int) -> Counter[str]:
    """Shows rows as they come, and failures with their reasons; how many rows had each status."""
    counts: Counter[str] = Counter()
    start = last = time.monotonic()
    with _bar() as bar:
        task = bar.add_task("preparing", total=total, told="", rate="") if bar else None
        try:
            for row in rows:
                counts[row.status] += 1
                now = time.monotonic()
                if row.status == "failed":
                    _say(bar, f"failed {row.id}: {row.reason}")
                if bar:
                    told, rate = _told(counts), f"{counts.total() / max(now - start, 1e-9):.2f} clips/s"
                    bar.update(task, completed=counts.total(), told=told, rate=rate)
                elif now - last >= LINE_S:
                    last = now
                    print(_line(counts, total, now - start), flush=True)
        finally:
            if counts or not sys.exc_info()[0]:
                print(_line(counts, total, time.monotonic() - start), flush=True)
    return counts


def printable(text: str) -> str:
    """On one line, whatever a corpus has put into it: control characters are shown, not sent."""
    clean = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in clean)


def _bar() -> Any:
    """A live bar on stderr; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        from contextlib import nullcontext

        return nullcontext()
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    words = [TextColumn("{task.fields[" + name + "]}", markup=False) for name in ("rate", "told")]
    columns = (BarColumn(), MofNCompleteColumn(), words[0], TimeRemainingColumn(), words[1])
    return Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)


def _say(bar: Any, line: str) -> None:
    """A line on stderr, above the bar."""
    if bar:
        bar.console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
    else:
        print(printable(line), file=sys.stderr, flush=True)


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[status]} {status}" for status in ("done", "kept", "skipped", "failed"))


def _line(counts: Counter[str], total: int, seconds: float) -> str:
    rate = (counts.total() - counts["kept"]) / max(seconds, 1e-9)
    left = total - counts.total()
    time_left = f", {left / rate:.0f} s left" if left and rate else ""
    return f"{counts.total()}/{total} clips: {_told(counts)}; {rate:.2f} clips/s{time_left}"
