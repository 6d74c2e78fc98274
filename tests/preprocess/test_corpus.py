"""A corpus through the pool: one row per clip, resumed, with broken clips and broken workers among them."""

import os
from collections import Counter
from pathlib import Path

import pytest

from lip2speech.data.corpus import Utterance
from preprocess.clip import write_atomic
from preprocess.corpus import prepare_corpus
from preprocess.index import Row, clip_path, read_index


def utterance(clip_id: str, text: str = "", split: str = "train") -> Utterance:
    return Utterance(clip_id, Path(f"{clip_id}.mp4"), None, text, "s1", split)


def pretend(utterance: Utterance, path: Path) -> Row:
    """Stands for `prepare_clip`: bad clips raise, deadly ones end their process."""
    if "deadly" in utterance.id:
        os._exit(9)
    if "bad" in utterance.id:
        raise ValueError("no face in 3 of\n3 frames")
    write_atomic(path, utterance.id.encode())
    return Row(utterance.id, utterance.split, utterance.speaker, utterance.text, "done", n_frames=1)


def run(out: Path, *ids: str, workers: int = 0, overwrite: bool = False) -> dict[str, str]:
    rows = prepare_corpus(map(utterance, ids), out, workers=workers, overwrite=overwrite, prepare=pretend)
    return {row.id: row.status for row in rows}


def test_every_clip_gets_a_row_and_a_bad_one_stops_nothing(tmp_path: Path) -> None:
    assert run(tmp_path, "a", "bad", "b") == {"a": "done", "bad": "failed", "b": "done"}
    rows = read_index(tmp_path)
    assert rows["bad"].reason == "ValueError: no face in 3 of 3 frames"
    assert Counter(row.status for row in rows.values()) == {"done": 2, "failed": 1}
    assert sorted(p.name for p in (tmp_path / "clips").iterdir()) == ["a.safetensors", "b.safetensors"]


def test_a_second_run_skips_what_is_done_and_tries_again_what_failed(tmp_path: Path) -> None:
    run(tmp_path, "a", "bad")
    assert run(tmp_path, "a", "bad", "b") == {"a": "skipped", "bad": "failed", "b": "done"}
    assert {row.status for row in read_index(tmp_path).values()} == {"done", "failed"}


def test_overwrite_prepares_everything_again(tmp_path: Path) -> None:
    run(tmp_path, "a")
    assert run(tmp_path, "a", overwrite=True) == {"a": "done"}


def test_a_lost_file_is_made_again(tmp_path: Path) -> None:
    run(tmp_path, "a")
    clip_path(tmp_path, "a").unlink()
    assert run(tmp_path, "a") == {"a": "done"}


def test_a_run_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    rows = prepare_corpus(map(utterance, "abc"), tmp_path, workers=0, prepare=pretend)
    assert next(rows).id == "a"
    rows.close()
    assert run(tmp_path, "a", "b", "c") == {"a": "skipped", "b": "done", "c": "done"}


def test_a_corrected_text_reaches_the_row_of_a_clip_that_is_done(tmp_path: Path) -> None:
    run(tmp_path, "a")
    list(prepare_corpus([utterance("a", "new text", "test")], tmp_path, workers=0, prepare=pretend))
    assert (read_index(tmp_path)["a"].text, read_index(tmp_path)["a"].split) == ("new text", "test")


def test_hostile_and_double_ids_fail_without_a_file(tmp_path: Path) -> None:
    out = tmp_path / "out"
    rows = list(prepare_corpus(map(utterance, ["../evil", "a", "a"]), out, workers=0, prepare=pretend))
    assert [(row.id, row.status) for row in rows] == [("../evil", "failed"), ("a", "failed"), ("a", "done")]
    assert read_index(out)["a"].status == "done"
    assert [p.name for p in tmp_path.rglob("*evil*")] == []


def test_rows_of_another_corpus_stay(tmp_path: Path) -> None:
    run(tmp_path, "a")
    run(tmp_path, "b")
    assert set(read_index(tmp_path)) == {"a", "b"}


def test_a_worker_that_dies_costs_only_its_own_clip(tmp_path: Path) -> None:
    ids = [f"c{i}" for i in range(8)]
    rows = run(tmp_path, *ids[:4], "deadly", *ids[4:], workers=2)
    assert rows.pop("deadly") == "failed"
    assert rows == dict.fromkeys(ids, "done")
    assert "worker process died" in read_index(tmp_path)["deadly"].reason


@pytest.mark.parametrize("where", ["write", "rename"])
def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(*((Path, "write_bytes", fail) if where == "write" else (os, "replace", fail)))
    with pytest.raises(OSError, match="disk full"):
        write_atomic(tmp_path / "clips" / "a.safetensors", b"x")
    assert list((tmp_path / "clips").iterdir()) == []
