"""Preparing a corpus: one row per clip, resumable, with broken and hostile clips."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lip2speech.data.utterance import RejectedClip, Utterance
from preprocess import corpus
from preprocess.clip import ClipTask, save_clip
from preprocess.corpus import RunConfig, prepare_corpus
from preprocess.index import IndexRow, failed_row, index_row, read_index
from preprocess.pool import WorkerFailed
from preprocess.storage import TarShards

CONTENT: dict[str, str] = {}
"""id -> content of a clip's files, in place of a hash."""


def utterance(clip_id: str, text: str = "", split: str = "train") -> Utterance:
    return Utterance(clip_id, Path(f"{clip_id}.mp4"), None, text, "s1", split)


def fake_process(task: ClipTask) -> IndexRow:
    """Replaces `ClipProcessor`: ids with `bad` fail, with `useless` are skipped, unchanged clips are kept."""
    clip, source = task.utterance, CONTENT.get(task.utterance.id, "bytes")
    if task.previous_row is not None and task.previous_row.source_hash == source:
        return task.previous_row
    if "bad" in clip.id:
        return failed_row(clip, ValueError("no face in 3 of\n3 frames"))
    if "useless" in clip.id:
        return replace(index_row(clip, "skipped"), reason="silent", source_hash=source)
    task.path.parent.mkdir(parents=True, exist_ok=True)
    task.path.write_bytes(clip.id.encode())
    return replace(index_row(clip, "done"), n_frames=1, source_hash=source)


def run(out: Path, *ids: str, overwrite: bool = False) -> dict[str, str]:
    rows = prepare_corpus(
        map(utterance, ids), out, RunConfig(Path(), workers=0, overwrite=overwrite), fake_process
    )
    return {row.id: row.status for row in rows}


def clip_path(out: Path, clip_id: str) -> Path:
    return out / "clips" / f"{clip_id}.safetensors"


def test_every_clip_has_a_row_and_a_bad_one_does_not_stop_the_run(tmp_path: Path) -> None:
    assert run(tmp_path, "a", "bad", "useless", "b") == {
        "a": "done", "bad": "failed", "useless": "skipped", "b": "done",
    }  # fmt: skip
    rows = read_index(tmp_path)
    assert rows["bad"].reason == "ValueError: no face in 3 of 3 frames"
    assert rows["useless"].reason == "silent"
    assert Counter(row.status for row in rows.values()) == {"done": 2, "failed": 1, "skipped": 1}
    assert sorted(p.name for p in (tmp_path / "clips").iterdir()) == ["a.safetensors", "b.safetensors"]


def test_a_second_run_keeps_finished_clips_and_retries_failed_ones(tmp_path: Path) -> None:
    run(tmp_path, "a", "bad", "useless")
    again = run(tmp_path, "a", "bad", "useless", "b")
    assert again == {"a": "kept", "bad": "failed", "useless": "kept", "b": "done"}
    assert {row.status for row in read_index(tmp_path).values()} == {"done", "failed", "skipped"}


def test_a_clip_with_changed_content_is_prepared_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, "a", "b")
    monkeypatch.setitem(CONTENT, "a", "other bytes")
    assert run(tmp_path, "a", "b") == {"a": "done", "b": "kept"}


def test_overwrite_prepares_everything_again(tmp_path: Path) -> None:
    run(tmp_path, "a")
    clip_path(tmp_path, "a").write_bytes(b"old")
    run(tmp_path, "a", overwrite=True)
    assert clip_path(tmp_path, "a").read_bytes() == b"a"


def test_a_missing_file_is_prepared_again(tmp_path: Path) -> None:
    run(tmp_path, "a")
    clip_path(tmp_path, "a").unlink()
    assert run(tmp_path, "a") == {"a": "done"}
    assert clip_path(tmp_path, "a").is_file()


def test_an_interrupted_run_resumes(tmp_path: Path) -> None:
    rows = prepare_corpus(map(utterance, "abc"), tmp_path, RunConfig(Path(), workers=0), fake_process)
    assert next(rows).id == "a"
    rows.close()
    assert run(tmp_path, "a", "b", "c") == {"a": "kept", "b": "done", "c": "done"}


def test_a_corrected_text_updates_the_row_of_a_finished_clip(tmp_path: Path) -> None:
    run(tmp_path, "a")
    corrected = [utterance("a", "new text", "test")]
    (row,) = prepare_corpus(corrected, tmp_path, RunConfig(Path(), workers=0), fake_process)
    assert (row.status, row.text) == ("kept", "new text")
    assert (read_index(tmp_path)["a"].text, read_index(tmp_path)["a"].split) == ("new text", "test")


def test_in_a_tar_a_corrected_text_prepares_the_clip_again(tmp_path: Path) -> None:
    for text, status in (("old", "done"), ("old", "kept"), ("new", "done")):
        (row,) = prepare_corpus(
            [utterance("a", text)], tmp_path, RunConfig(Path(), store=TarShards, workers=0), fake_process
        )
        assert row.status == status
    assert read_index(tmp_path)["a"].tar == "all-000001.tar"


def test_hostile_and_duplicate_ids_and_rejected_clips_fail_without_a_file(tmp_path: Path) -> None:
    out = tmp_path / "out"
    clips = [utterance("../evil"), utterance("a"), RejectedClip("list:7", "no path"), utterance("a")]
    rows = list(prepare_corpus(clips, out, RunConfig(Path(), workers=0), fake_process))
    assert sorted((row.id, row.status) for row in rows) == [
        ("../evil", "failed"), ("a", "done"), ("a", "failed"), ("list:7", "failed"),
    ]  # fmt: skip
    assert read_index(out)["a"].status == "done"
    assert read_index(out)["list:7"].reason == "no path"
    assert [p.name for p in tmp_path.rglob("*evil*")] == []


def test_a_link_out_of_the_root_is_rejected_unread(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    (tmp_path / "root" / "a.mp4").symlink_to(tmp_path / "secret.mp4")
    clip = Utterance("a", tmp_path / "root" / "a.mp4", None, "", "s1", "train")
    (row,) = prepare_corpus([clip], tmp_path / "out", RunConfig(tmp_path / "root", workers=0), fake_process)
    assert row.status == "failed"
    assert "leads out of the corpus" in row.reason


def test_rows_of_another_corpus_are_kept(tmp_path: Path) -> None:
    run(tmp_path, "a")
    run(tmp_path, "b")
    assert set(read_index(tmp_path)) == {"a", "b"}


def test_a_clip_whose_worker_was_killed_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pool(items: Iterator[ClipTask], *_: object, **__: object) -> Iterator[tuple[ClipTask, WorkerFailed]]:
        yield from ((task, WorkerFailed("took longer than 9 s")) for task in items)

    monkeypatch.setattr(corpus, "run_pool", pool)
    (row,) = prepare_corpus([utterance("a")], tmp_path, RunConfig(Path(), workers=1), fake_process)
    assert (row.status, row.reason) == ("failed", "took longer than 9 s")


@pytest.mark.parametrize("where", ["write", "rename"])
def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(*((Path, "write_bytes", fail) if where == "write" else (os, "replace", fail)))
    with pytest.raises(OSError, match="disk full"):
        save_clip(tmp_path / "clips" / "a.safetensors", {"wav": torch.zeros(2)}, {})
    assert list((tmp_path / "clips").iterdir()) == []
