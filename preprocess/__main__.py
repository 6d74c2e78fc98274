"""`python -m preprocess CORPUS --root R --out O`: a corpus becomes a prepared folder, or a shard of it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from preprocess.executors import EXECUTORS, ShardsFailed, parse_options
from preprocess.job import CORPORA, PreprocessJob
from preprocess.progress import printable, report
from preprocess.storage import STORES
from preprocess.targets_config import TargetsConfig, target_fingerprints


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0: all clips are ready or cannot be used; 2: usage; 3: some failed; 4: none is ready."""
    options = _parser().parse_args(arguments)
    try:
        job, shards = _job(options), _shards(options)
        executor = EXECUTORS[options.executor](parse_options(options.option))
        target_fingerprints(job.recipe)  # a folder that holds no teacher is told before anything starts
        total = sum(1 for _ in job.clips(shards))
        counts = report(executor.run(job, shards), total)
    except ShardsFailed as error:
        print(f"preprocess: {printable(str(error))}", file=sys.stderr)
        return 3
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        print(
            f"preprocess: {error.name} is not installed: pip install '.[{EXTRAS[error.name]}]'",
            file=sys.stderr,
        )
        return 2
    except (ValueError, OSError) as error:
        print(f"preprocess: {printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("preprocess: stopped; the same command goes on from here.", file=sys.stderr)
        return 130
    if not counts["done"] + counts["kept"]:
        return 4
    return 3 if counts["failed"] else 0


EXTRAS = {"ray": "ray", "submitit": "slurm"}


def _job(options: argparse.Namespace) -> PreprocessJob:
    if options.workers < 0 or options.timeout <= 0:
        raise ValueError(
            f"--workers must be 0 or more, --timeout above 0, got {options.workers}, {options.timeout:g}."
        )
    return PreprocessJob(
        corpus=options.corpus,
        root=options.root,
        out=options.out,
        recipe=TargetsConfig(options.mel, options.units, options.codec, options.speaker),
        listed=options.list,
        form=options.form,
        workers=options.workers,
        timeout_s=options.timeout,
        overwrite=options.overwrite,
        num_shards=options.num_shards,
    )


def _shards(options: argparse.Namespace) -> list[int]:
    """The shards to work on: the one that was named, else all."""
    index, count = options.shard_index, options.num_shards
    if count < 1 or (index is not None and not 0 <= index < count):
        raise ValueError(f"--shard-index must be 0 .. --num-shards - 1, got {index} and {count}.")
    return list(range(count)) if index is None else [index]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m preprocess", description=__doc__)
    add = parser.add_argument
    add("corpus", choices=sorted(CORPORA), help="how the folder is laid out")
    add("--root", type=Path, required=True, help="the corpus as it was published")
    add("--out", type=Path, required=True, help="the prepared folder; may exist already")
    add(
        "--list",
        type=Path,
        metavar="FILE",
        help="take only the videos it names: paths below ROOT, one a line",
    )
    add("--form", choices=sorted(STORES), default="clips", help="a file for each clip, or WebDataset tars")
    add("--mel", action="store_true", help="store the log-mel of each clip")
    add("--units", default="", metavar="FOLDER", help="store units, of this teacher")
    add("--codec", default="", metavar="FOLDER", help="store codes, of this codec")
    add("--speaker", default="", metavar="FOLDER", help="store voice vectors, of this encoder, or: spectrum")
    add("--workers", type=int, default=2, help="processes, one per core (0: this process, without --timeout)")
    add("--timeout", type=float, default=600.0, metavar="S", help="what one clip may take")
    add("--num-shards", type=int, default=1, metavar="N", help="divide the corpus into N shards")
    add("--shard-index", type=int, metavar="K", help="work on shard K alone, from 0")
    add("--executor", choices=sorted(EXECUTORS), default="local", help="where the shards are worked on")
    add("--option", action="append", default=[], metavar="KEY=VALUE", help="of submitit, or of ray.init")
    add("--overwrite", action="store_true", help="prepare also the clips that are done")
    return parser


if __name__ == "__main__":
    sys.exit(main())
