"""Shards worked on here, as Slurm tasks (submitit's executors on this machine) and on a real Ray cluster."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lip2speech.data.dataset import read_clips
from preprocess.executors import EXECUTORS, RayExecutor, ShardsFailed, SlurmExecutor, parse_options
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
    """All clips are told and are where training reads them."""
    told = {row.id.rpartition("/")[2]: row.status for row in rows}
    assert told == {"00001": "done", "00002": "done", "00003": "done", "bad": "failed"}
    assert len(read_clips([job.out], "train|test")) == 3


def test_shards_are_worked_on_here(job: PreprocessJob) -> None:
    check(job, EXECUTORS["local"]().run(job, [0, 1]))
    with pytest.raises(ValueError, match="local executor takes no option, got address"):
        list(EXECUTORS["local"]({"address": "auto"}).run(job, [0]))


def test_shards_are_worked_on_by_slurm_tasks(job: PreprocessJob) -> None:
    """In processes of their own, as on a cluster."""
    check(job, SlurmExecutor({"cluster": "local", "timeout_min": 2}).run(job, [0, 1]))
    assert any((job.out / "slurm").iterdir())


def test_a_lost_task_is_told_after_the_others(job: PreprocessJob, monkeypatch: pytest.MonkeyPatch) -> None:
    real = PreprocessJob.rows

    def rows(self: PreprocessJob, shard: int) -> list[IndexRow]:
        if shard == 0:
            raise MemoryError("the node is full")
        return real(self, shard)

    monkeypatch.setattr(PreprocessJob, "rows", rows)
    monkeypatch.setattr("pdb.post_mortem", lambda: None)  # which submitit opens for its own debugging
    told = SlurmExecutor({"cluster": "debug"}).run(job, [0, 1])
    others = {clip.id for clip in job.clips([1])}
    assert {next(told).id for _ in others} == others
    with pytest.raises(ShardsFailed, match="1 of 2 shards were lost, the first is 0: .*the node is full"):
        next(told)


@pytest.mark.ray
def test_shards_are_worked_on_by_a_ray_cluster(job: PreprocessJob) -> None:
    # Ray's workers give way to everything else, and would wait for minutes beside other tests.
    options = {"num_cpus": 1, "_system_config": {"worker_niceness": 0}}
    check(job, RayExecutor(options).run(job, [0, 1]))


def test_options_are_keys_with_values() -> None:
    assert parse_options(["timeout_min=90", "slurm_partition=cpu"]) == {
        "timeout_min": 90,
        "slurm_partition": "cpu",
    }
    for word in ("alone", "=1", "a b=1"):
        with pytest.raises(ValueError, match="KEY=VALUE"):
            parse_options([word])
