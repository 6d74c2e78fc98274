"""Where the shards of a job are processed: on this machine, on a Slurm cluster, or on a Ray cluster.

One interface: `run(job, shards)` yields the rows of all clips, one by one if local, shard by shard otherwise.
Every machine must see corpus, checkpoints, output and this checkout at the same paths. A failed shard does
not stop the others; `ShardsFailedError` is raised at the end, and rerunning the same command resumes.
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


class ShardsFailedError(OSError):
    """Some shards ended without their rows."""

    def __init__(self, reasons: dict[int, str], count: int) -> None:
        shard, reason = next(iter(reasons.items()))
        super().__init__(
            f"{len(reasons)} of {count} shards failed, the first is {shard}: {reason.strip()}; "
            "rerun the same command to resume"
        )


class ShardExecutor(Protocol):
    """Processes shards somewhere."""

    def run(self, job: PreprocessJob, shards: Sequence[int]) -> Iterator[IndexRow]:
        """A row for each clip of the shards. ShardsFailedError: at the end, if some shards have none."""


@dataclass(frozen=True)
class LocalExecutor:
    """Shards one after the other on this machine, each by `job.workers` processes."""

    options: dict[str, Any] = field(default_factory=dict)

    def run(self, job: PreprocessJob, shards: Sequence[int]) -> Iterator[IndexRow]:
        """A row for each clip of the shards."""
        if self.options:
            raise ValueError(f"the local executor takes no option, got {', '.join(self.options)}.")
        for shard in shards:
            yield from job.run(shard)


@dataclass(frozen=True)
class SlurmExecutor:
    """A Slurm job array, one task per shard, by submitit; its logs are in OUT/slurm.

    Args:
        options: submitit's parameters (`slurm_partition`, `timeout_min`, `mem_gb`, ...), and `cluster`: slurm
            by default, or local or debug, which run on this machine.
    """

    options: dict[str, Any] = field(default_factory=dict)

    def run(self, job: PreprocessJob, shards: Sequence[int]) -> Iterator[IndexRow]:
        """A row for each clip of the shards. ShardsFailedError: at the end, if some shards have none."""
        import submitit

        options: dict[str, Any] = {"name": "lip2speech", "timeout_min": 24 * 60} | self.options
        executor = submitit.AutoExecutor(folder=job.out / "slurm", cluster=options.pop("cluster", "slurm"))
        executor.update_parameters(cpus_per_task=max(1, job.workers), **options)
        tasks = executor.map_array(job.absolute().rows, shards)
        reasons = {}
        for shard, task in zip(shards, tasks, strict=True):
            try:
                rows = task.result()
            except Exception as error:  # whatever ended the task, on whatever machine
                reasons[shard] = _last_line(error)
            else:
                yield from rows
        if reasons:
            raise ShardsFailedError(reasons, len(shards))


@dataclass(frozen=True)
class RayExecutor:
    """A Ray task per shard, which takes `job.workers` CPUs.

    Args:
        options: Arguments of `ray.init`; `address` joins a running cluster (`auto`: the one of this machine),
            otherwise one is started here.
    """

    options: dict[str, Any] = field(default_factory=dict)

    def run(self, job: PreprocessJob, shards: Sequence[int]) -> Iterator[IndexRow]:
        """A row for each clip of the shards. ShardsFailedError: at the end, if some shards have none."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry; read at import
        import ray

        # A cluster that is started here inherits our import path.
        remote_defaults = {"runtime_env": {"env_vars": {"PYTHONPATH": str(CHECKOUT)}}}
        local_defaults = {"include_dashboard": False, "log_to_driver": False}
        ray.init(**(remote_defaults if "address" in self.options else local_defaults) | self.options)
        try:
            remote = ray.remote(num_cpus=max(1, job.workers))(PreprocessJob.rows)
            shard_of = {remote.remote(job.absolute(), shard): shard for shard in shards}
            pending, reasons = list(shard_of), {}
            while pending:
                (finished,), pending = ray.wait(pending)
                try:
                    rows = ray.get(finished)
                except ray.exceptions.RayError as error:
                    reasons[shard_of[finished]] = _last_line(error)
                else:
                    yield from rows
        finally:
            ray.shutdown()
        if reasons:
            raise ShardsFailedError(reasons, len(shards))


EXECUTORS: dict[str, type[LocalExecutor] | type[SlurmExecutor] | type[RayExecutor]] = {
    "local": LocalExecutor,
    "slurm": SlurmExecutor,
    "ray": RayExecutor,
}


def parse_options(words: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE words -> options; digits become int."""
    options: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            raise ValueError(f"--executor-option must be KEY=VALUE, got {word!r}.")
        options[key] = int(value) if value.isdecimal() else value
    return options


def _last_line(error: Exception) -> str:
    """The message of a remote error without its traceback."""
    return ([line for line in str(error).splitlines() if line.strip()] or [type(error).__name__])[-1]
