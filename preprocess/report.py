"""Progress of a run: a bar on a terminal, a line now and then elsewhere, and a summary."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from time import monotonic

import typer

from lip2speech.cli._errors import eprint
from lip2speech.cli._progress import progress_bar
from preprocess.index import IndexRow

LOG_INTERVAL_S = 5.0


def report_rows(rows: Iterable[IndexRow], total: int, *, quiet: bool = False) -> Counter[str]:
    """Consume the rows of a run of `total` clips and report progress and failures; rows per status."""
    counts: Counter[str] = Counter()
    start = last = monotonic()
    with progress_bar(quiet=quiet) as progress:
        progress.start("preparing")
        try:
            for row in rows:
                counts[row.status] += 1
                if row.status == "failed":
                    eprint(f"failed {row.id}: {row.reason}")
                progress(counts.total() / total)
                if not quiet and not sys.stderr.isatty() and monotonic() - last >= LOG_INTERVAL_S:
                    last = monotonic()
                    typer.echo(summary(counts, total, last - start))
        finally:
            if counts or not sys.exc_info()[0]:
                typer.echo(summary(counts, total, monotonic() - start))
    return counts


def summary(counts: Counter[str], total: int, seconds: float) -> str:
    """`N/TOTAL clips: counts per status; speed, time left`."""
    statuses = ", ".join(f"{counts[status]} {status}" for status in ("done", "kept", "skipped", "failed"))
    rate = (counts.total() - counts["kept"]) / max(seconds, 1e-9)
    remaining = total - counts.total()
    time_left = f", {remaining / rate:.0f} s left" if remaining and rate else ""
    return f"{counts.total()}/{total} clips: {statuses}; {rate:.2f} clips/s{time_left}"
