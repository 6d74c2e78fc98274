"""Where the shards of a job are worked on: here, on a Slurm cluster, or on a Ray cluster.

One interface: `run(job, shards)` yields the rows of all clips, here one by one, from elsewhere a shard's
together. Every machine must see corpus, teachers, output and this checkout at the same paths. A shard that is
lost does not stop the others; `ShardsFailed` comes at the end, and the same command goes on from there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from preprocess.index import IndexRow
from preprocess.job import PreprocessJob

CHECKOUT = Path(__file__).parents[1]


class ShardsFailed(OSError):
    """Some shards ended without their rows."""

    def __init__(self, lost: dict[int, str], count: int) -> None:
        shard, reason = next(iter(lost.items()))
        super().__init__(
            f"{len(lost)} of {count} shards were lost, the first is {shard}: {reason.strip()}; "
            "the same command goes on from there"
        )


class Executor(Protocol):
    """Works on shards somewhere."""

    def run(self, job: PreprocessJob, shards: Sequence[int]) -> Iterator[IndexRow]:
        """A row for each clip of the shards. ShardsFailed: at the end, where some have none."""


@dataclass(frozen=True)
class LocalExecutor:
    """One shard after the other on this machine, by `job.workers` processes."""

    options: dict[str, Any] = field(default_factory=dict)

    def run(self, job: PreprocessJob, shards: Sequence[int]) -> Iterator[IndexRow]:
        if self.options:
            raise ValueError(f"the local executor takes no option, got {', '.join(self.options)}.")
        for shard in shards:
            yield from job.run(shard)


@dataclass(frozen=True)
class SlurmExecutor:
    """A Slurm array, one task a shard, through submitit; its logs lie in OUT/slurm.

    Args:
        options: submitit's parameters (`slurm_partition`, `timeout_min`, `mem_gb`, ...), and `cluster`: slurm
            unless it is local or debug, which work here.
    """

    options: dict[str, Any] = field(default_factory=dict)

    def run(self, job: PreprocessJob, shards: Sequence[int]) -> Iterator[IndexRow]:
        import submitit

        options: dict[str, Any] = {"name": "lip2speech", "timeout_min": 24 * 60} | self.options
        executor = submitit.AutoExecutor(folder=job.out / "slurm", cluster=options.pop("cluster", "slurm"))
        executor.update_parameters(cpus_per_task=max(1, job.workers), **options)
        tasks = executor.map_array(job.absolute().rows, shards)
        lost = {}
        for shard, task in zip(shards, tasks, strict=True):
            try:
                rows = task.result()
            except Exception as error:  # whatever ended the task, on whatever machine
                lost[shard] = _last_line(error)
            else:
                yield from rows
        if lost:
            raise ShardsFailed(lost, len(shards))


@dataclass(frozen=True)
class RayExecutor:
    """A Ray task for each shard, which takes `job.workers` CPUs.

    Args:
        options: of `ray.init`; `address` joins a running cluster (`auto`: this machine's own), without it one
            is started here.
    """

    options: dict[str, Any] = field(default_factory=dict)

    def run(self, job: PreprocessJob, shards: Sequence[int]) -> Iterator[IndexRow]:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read at import: it would report to its makers
        import ray

        # A cluster that is started here inherits our import path.
        there = {"runtime_env": {"env_vars": {"PYTHONPATH": str(CHECKOUT)}}}
        here = {"include_dashboard": False, "log_to_driver": False}
        ray.init(**(there if "address" in self.options else here) | self.options)
        try:
            remote = ray.remote(num_cpus=max(1, job.workers))(PreprocessJob.rows)
            number = {remote.remote(job.absolute(), shard): shard for shard in shards}
            waiting, lost = list(number), {}
            while waiting:
                (ended,), waiting = ray.wait(waiting)
                try:
                    rows = ray.get(ended)
                except ray.exceptions.RayError as error:
                    lost[number[ended]] = _last_line(error)
                else:
                    yield from rows
        finally:
            ray.shutdown()
        if lost:
            raise ShardsFailed(lost, len(shards))


EXECUTORS: dict[str, type[LocalExecutor] | type[SlurmExecutor] | type[RayExecutor]] = {
    "local": LocalExecutor,
    "slurm": SlurmExecutor,
    "ray": RayExecutor,
}


def parse_options(words: Sequence[str]) -> dict[str, Any]:
    """`key=value` words as options; whole numbers become such."""
    options: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            raise ValueError(f"an option of an executor is KEY=VALUE, got {word!r}.")
        options[key] = int(value) if value.isdecimal() else value
    return options


def _last_line(error: Exception) -> str:
    """What went wrong elsewhere, without its traceback."""
    return ([line for line in str(error).splitlines() if line.strip()] or [type(error).__name__])[-1]
