"""`python -m preprocess grid|talker|folder --root R --out O`: a corpus becomes a prepared clip folder."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from lip2speech.data import grid, talker
from lip2speech.data.corpus import Utterance
from preprocess import folder
from preprocess.corpus import prepare_corpus
from preprocess.index import Row

CORPORA: dict[str, Callable[[Path], Iterable[Utterance]]] = {
    "grid": grid.utterances,
    "talker": talker.utterances,
    "folder": folder.utterances,
}


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0: all clips are ready; 2: usage; 3: some failed (see index.jsonl); 4: none is ready."""
    options = _parser().parse_args(arguments)
    try:
        utterances = list(CORPORA[options.corpus](options.root))
        counts = _report(
            prepare_corpus(utterances, options.out, workers=options.workers, overwrite=options.overwrite),
            len(utterances),
        )
    except (ValueError, OSError) as error:
        print(f"preprocess: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("preprocess: stopped; the same command goes on from here.", file=sys.stderr)
        return 130
    if counts["failed"] == 0 and utterances:
        return 0
    return 3 if counts["done"] + counts["skipped"] else 4


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m preprocess", description=__doc__)
    parser.add_argument("corpus", choices=sorted(CORPORA), help="how the folder is laid out")
    parser.add_argument("--root", type=Path, required=True, help="the corpus as it was published")
    parser.add_argument("--out", type=Path, required=True, help="the prepared clip folder; may exist already")
    parser.add_argument("--workers", type=int, default=2, help="processes, one per core (0: this process)")
    parser.add_argument("--overwrite", action="store_true", help="prepare also the clips that are done")
    return parser


def _report(rows: Iterator[Row], n_clips: int) -> Counter[str]:
    """Prints failures and, now and then, progress; returns how many rows had each status."""
    counts: Counter[str] = Counter()
    start = last = time.monotonic()
    for row in rows:
        counts[row.status] += 1
        if row.status == "failed":
            print(f"failed {row.id}: {row.reason}", file=sys.stderr, flush=True)
        if time.monotonic() - last >= 5:
            last = time.monotonic()
            print(_progress(counts, n_clips, last - start), flush=True)
    print(_progress(counts, n_clips, time.monotonic() - start), flush=True)
    return counts


def _progress(counts: Counter[str], n_clips: int, seconds: float) -> str:
    worked = counts["done"] + counts["failed"]
    rate = worked / max(seconds, 1e-9)
    left = n_clips - counts.total()
    return (
        f"{counts.total()}/{n_clips} clips: {counts['done']} done, {counts['skipped']} skipped, "
        f"{counts['failed']} failed; {rate:.2f} clips/s, {left / rate if rate else 0:.0f} s left"
    )


if __name__ == "__main__":
    sys.exit(main())
