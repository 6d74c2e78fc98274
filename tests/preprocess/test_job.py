"""A whole job: miniature corpora, in shards that together hold the same clips as one."""

from pathlib import Path

import pytest

from lip2speech.data.dataset import read_clips
from lip2speech.data.webdataset import stream_clips
from preprocess.index import read_index
from preprocess.job import CORPORA, PreprocessJob
from tests.preprocess.trees import lrs3, voxceleb2


@pytest.fixture
def names(tmp_path: Path) -> Path:
    """A corpus of 40 clips by name alone."""
    for i in range(40):
        (tmp_path / "in" / f"s{i % 4}").mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / f"s{i % 4}" / f"{i}.mp4").touch()
    return tmp_path / "in"


def test_the_supported_corpora() -> None:
    assert set(CORPORA) == {"folder", "grid", "lrs3", "synth", "voxceleb2"}


def test_shards_partition_the_clips_independently_of_other_clips(names: Path) -> None:
    job = PreprocessJob("folder", names, names, num_shards=3)
    shards = [{clip.id for clip in job.clips([shard])} for shard in range(3)]
    assert sum(map(len, shards)) == 40
    assert len(set.union(*shards)) == 40
    assert min(map(len, shards)) > 5
    (names / "s0" / "another.mp4").touch()
    assert all(old <= {clip.id for clip in job.clips([shard])} for shard, old in enumerate(shards))


def test_a_file_list_selects_clips(names: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("s0/4\ns1/5\n../s1/9\n")
    job = PreprocessJob("folder", names, tmp_path, filelist=tmp_path / "list.txt")
    assert [clip.id for clip in job.clips([0])] == ["list.txt:3", "s0/4", "s1/5"]


def test_lrs3_in_shards_is_read_by_training(talk: Path, tmp_path: Path) -> None:
    root, out = lrs3(tmp_path / "lrs3", talk), tmp_path / "out"
    job = PreprocessJob("lrs3", root, out, workers=0, num_shards=2)
    rows = [row for shard in range(2) for row in job.run(shard)]
    assert {row.id: row.status for row in rows} == dict.fromkeys(
        ["pretrain/yt1/00001_0", "trainval/yt1/50001", "test/yt2/00001"], "done"
    )
    clips = read_clips([out], "train|test")
    assert [(c.id, c.text, c.n_frames) for c in clips] == [
        ("pretrain/yt1/00001_0", "hello again", 30),
        ("test/yt2/00001", "good bye", 30),
        ("trainval/yt1/50001", "it's hello", 30),
    ]
    whole = PreprocessJob("lrs3", root, out, workers=0)
    assert [row.status for row in whole.run(0)] == ["kept"] * 3


def test_voxceleb2_as_webdataset_is_read_by_training(talk: Path, tmp_path: Path) -> None:
    root, out = voxceleb2(tmp_path / "vox", talk), tmp_path / "out"
    job = PreprocessJob("voxceleb2", root, out, workers=0, format="webdataset")
    assert [row.status for row in job.run(0)] == ["done"] * 3
    assert len(read_clips([out], "train")) == 2
    (clip,) = stream_clips(out, "test")
    assert (clip.id, clip.speaker, clip.n_frames) == ("test/mp4/id00017/xyz/00003", "id00017", 30)
    assert {row.tar for row in read_index(out).values()} == {"all-000000.tar"}
    assert [row.status for row in job.run(0)] == ["kept"] * 3
