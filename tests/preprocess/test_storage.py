"""Tar shards: written atomically, read by offset and as a stream."""

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lip2speech.data.dataset import read_clips
from lip2speech.data.utterance import Utterance
from lip2speech.data.webdataset import stream_clips, stream_tar
from preprocess.clip import ClipTask, save_clip
from preprocess.corpus import RunConfig, prepare_corpus
from preprocess.index import IndexRow, index_row, read_index
from preprocess.storage import TarShards

FRAMES = 14


def tensors(clip_id: str) -> dict[str, Tensor]:
    seed = torch.Generator().manual_seed(sum(clip_id.encode()))
    roi = torch.randint(256, (FRAMES, 96, 96), generator=seed, dtype=torch.uint8)
    return {"roi": roi, "wav": torch.randint(-9, 9, (FRAMES * 640,), generator=seed, dtype=torch.int16)}


def fake_process(task: ClipTask) -> IndexRow:
    save_clip(task.path, tensors(task.utterance.id), {"mel": "fingerprint"})
    return replace(index_row(task.utterance, "done"), n_frames=FRAMES)


def small_shards(folder: Path, part: str) -> TarShards:
    """A store whose tars are full with two clips."""
    return TarShards(folder, part, limit=200_000)


def prepare(out: Path, ids: str, text: str = "") -> list[str]:
    clips = [Utterance(i, Path(f"{i}.mp4"), None, text, "s1", "train") for i in ids.split()]
    rows = prepare_corpus(clips, out, RunConfig(Path(), store=small_shards, workers=0), fake_process)
    return [row.status for row in rows]


def test_clips_in_tars_are_read_like_files(tmp_path: Path) -> None:
    assert prepare(tmp_path, "b/1 a.x c") == ["done"] * 3
    assert sorted(p.name for p in (tmp_path / "shards").glob("*.tar")) == ["all-000000.tar", "all-000001.tar"]
    clips = read_clips([tmp_path], "train")
    assert [clip.id for clip in clips] == ["a.x", "b/1", "c"]
    for clip in clips:
        assert clip.fingerprints() == {"mel": "fingerprint"}
        for name, tensor in tensors(clip.id).items():
            assert torch.equal(clip.tensors()[name], tensor)


def test_a_stream_has_the_same_clips_in_tar_order(tmp_path: Path) -> None:
    prepare(tmp_path, "b a c")
    clips = list(stream_clips(tmp_path, "train"))
    assert [(clip.id, clip.n_frames) for clip in clips] == [("b", FRAMES), ("a", FRAMES), ("c", FRAMES)]
    for clip in clips:
        assert torch.equal(clip.tensors()["roi"], tensors(clip.id)["roi"])
        assert clip.fingerprints() == {"mel": "fingerprint"}
        assert clip.wav().shape == (640 * FRAMES,)
    with pytest.raises(ValueError, match="no clip of split 'test' in shards"):
        next(stream_clips(tmp_path, "test"))


def test_a_stream_never_seeks_and_reads_one_clip_at_a_time(tmp_path: Path) -> None:
    class Pipe(io.RawIOBase):
        """A sequential file that counts its bytes."""

        def __init__(self, path: Path) -> None:
            self.file, self.n_read = path.open("rb"), 0

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            assert 0 <= size <= 1 << 20, "a stream reads in blocks"
            self.n_read += size
            return self.file.read(size)

    prepare(tmp_path, "b a")
    pipe = Pipe(tmp_path / "shards" / "all-000000.tar")
    clips = stream_tar(pipe)  # type: ignore[arg-type]
    assert next(clips).id == "b"
    assert pipe.n_read < 200_000  # of 300 kB: the second clip has not been read
    assert next(clips).id == "a"
    pipe.file.close()


def test_webdataset_reads_our_tars(tmp_path: Path) -> None:
    import webdataset

    prepare(tmp_path, "b/1 a.x")
    samples = list(webdataset.WebDataset(str(tmp_path / "shards" / "all-000000.tar"), shardshuffle=False))
    assert [set(sample) & {"json", "safetensors"} for sample in samples] == [{"json", "safetensors"}] * 2


def test_a_clip_prepared_again_is_streamed_once(tmp_path: Path) -> None:
    prepare(tmp_path, "a b", "old")
    assert prepare(tmp_path, "a b", "new") == ["done"] * 2
    assert [(clip.id, clip.text) for clip in stream_clips(tmp_path, "train")] == [("a", "new"), ("b", "new")]


def test_a_killed_run_leaves_no_row_without_a_clip(tmp_path: Path) -> None:
    store = small_shards(tmp_path, "")
    clip = Utterance("a", Path("a.mp4"), None, "", "s1", "train")
    assert store.add(fake_process(ClipTask(clip, store.path("a")))) == []  # the run is killed here
    assert list((tmp_path / "shards").glob("*.tar")) == []
    assert read_index(tmp_path) == {}
    assert prepare(tmp_path, "a b") == ["done"] * 2
    assert [clip.id for clip in stream_clips(tmp_path, "train")] == ["a", "b"]
    assert sorted(p.name for p in (tmp_path / "shards").iterdir() if p.is_file()) == ["all-000000.tar"]


def test_the_same_clips_give_the_same_tar(tmp_path: Path) -> None:
    for name in ("one", "two"):
        prepare(tmp_path / name, "a b")
    one, two = ((tmp_path / name / "shards/all-000000.tar").read_bytes() for name in ("one", "two"))
    assert one == two


def test_a_damaged_tar_is_an_error(tmp_path: Path) -> None:
    prepare(tmp_path, "a b")
    tar = tmp_path / "shards" / "all-000000.tar"
    whole = tar.read_bytes()
    tar.write_bytes(whole[:100_000])
    with pytest.raises(ValueError, match="all-000000.tar: damaged shard"):
        list(stream_clips(tmp_path, "train"))
    tar.write_bytes(b"\xff" * 2048)
    with pytest.raises(ValueError, match="all-000000.tar: damaged shard"):
        list(stream_clips(tmp_path, "train"))


def test_a_link_in_a_tar_is_rejected() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        link = tarfile.TarInfo("000000.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    buffer.seek(0)
    with pytest.raises(ValueError, match="the shard: damaged shard"):
        list(stream_tar(buffer))


def test_an_index_cannot_name_a_tar_outside_its_folder(tmp_path: Path) -> None:
    prepare(tmp_path, "a b")
    index = tmp_path / "index.jsonl"
    index.write_text(index.read_text().replace("all-000000.tar", "../../all.tar"))
    with pytest.raises(ValueError, match="shard of clip 'a' must be a file name, got '../../all.tar'"):
        read_clips([tmp_path], "train")
