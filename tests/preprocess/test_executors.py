"""Shards processed locally, as Slurm tasks (submitit on this machine) and on a real Ray cluster."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lip2speech.data.dataset import read_clips
from preprocess.executors import EXECUTORS, RayExecutor, ShardsFailedError, SlurmExecutor, parse_options
from preprocess.index import IndexRow
from preprocess.job import PreprocessJob
from tests.preprocess.trees import voxceleb2


@pytest.fixture
def job(talk: Path, tmp_path: Path) -> PreprocessJob:
    """Three clips, and a broken one, in two shards."""
    root = voxceleb2(tmp_path / "vox", talk)
    (root / "dev/mp4/id00012/abc/bad.mp4").write_bytes(b"not a video")
    return PreprocessJob("voxceleb2", root, tmp_path / "out", workers=0, num_shards=2)


def check(job: PreprocessJob, rows: Iterator[IndexRow]) -> None:
    """Every clip has a row, and training can read the finished ones."""
    statuses = {row.id.rpartition("/")[2]: row.status for row in rows}
    assert statuses == {"00001": "done", "00002": "done", "00003": "done", "bad": "failed"}
    assert len(read_clips([job.out], "train|test")) == 3


def test_the_local_executor_processes_every_shard(job: PreprocessJob) -> None:
    check(job, EXECUTORS["local"]().run(job, [0, 1]))
    with pytest.raises(ValueError, match="local executor takes no option, got address"):
        list(EXECUTORS["local"]({"address": "auto"}).run(job, [0]))


def test_slurm_tasks_process_every_shard(job: PreprocessJob) -> None:
    """In separate processes, as on a cluster."""
    check(job, SlurmExecutor({"cluster": "local", "timeout_min": 2}).run(job, [0, 1]))
    assert any((job.out / "slurm").iterdir())


def test_a_failed_task_is_reported_after_the_others(
    job: PreprocessJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = PreprocessJob.rows

    def rows(self: PreprocessJob, shard: int) -> list[IndexRow]:
        if shard == 0:
            raise MemoryError("the node is full")
        return real(self, shard)

    monkeypatch.setattr(PreprocessJob, "rows", rows)
    monkeypatch.setattr("pdb.post_mortem", lambda: None)  # which submitit opens for its own debugging
    results = SlurmExecutor({"cluster": "debug"}).run(job, [0, 1])
    others = {clip.id for clip in job.clips([1])}
    assert {next(results).id for _ in others} == others
    with pytest.raises(ShardsFailedError, match="1 of 2 shards failed, the first is 0: .*the node is full"):
        next(results)


@pytest.mark.ray
def test_a_ray_cluster_processes_every_shard(job: PreprocessJob) -> None:
    # Ray's workers run at low priority by default, and would wait for minutes while other tests run.
    options = {"num_cpus": 1, "_system_config": {"worker_niceness": 0}}
    check(job, RayExecutor(options).run(job, [0, 1]))


def test_executor_options_are_key_value_pairs() -> None:
    assert parse_options(["timeout_min=90", "slurm_partition=cpu"]) == {
        "timeout_min": 90,
        "slurm_partition": "cpu",
    }
    for word in ("alone", "=1", "a b=1"):
        with pytest.raises(ValueError, match="KEY=VALUE"):
            parse_options([word])
