"""The index of a prepared folder: rows that survive a crash, of one or several parts."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lip2speech.data.utterance import RejectedClip
from preprocess.index import Index, IndexRow, failed_row, read_index


def row(clip_id: str, status: str = "done", text: str = "") -> IndexRow:
    return IndexRow(clip_id, "train", "s1", text, status)


def test_closing_keeps_the_latest_row_of_each_id_sorted_by_id(tmp_path: Path) -> None:
    with Index(tmp_path) as index:
        index.add(row("b"))
        index.add(row("a", "failed"))
        index.add(row("a", "done"))
        assert read_index(tmp_path)["a"].status == "done"
    lines = (tmp_path / "index.jsonl").read_text().splitlines()
    assert [(json.loads(line)["id"], json.loads(line)["status"]) for line in lines] == [
        ("a", "done"),
        ("b", "done"),
    ]


def test_rows_are_readable_before_the_run_ends(tmp_path: Path) -> None:
    index = Index(tmp_path)
    index.add(row("a"))
    assert set(read_index(tmp_path)) == {"a"}
    index.close()


@pytest.mark.parametrize("truncated", ['{"id": "b", "spl', "[]", "null", '{"id": "b"}', "\ufffd"])
def test_a_truncated_line_is_skipped(tmp_path: Path, truncated: str) -> None:
    with Index(tmp_path) as index:
        index.add(row("a"))
    with (tmp_path / "index.jsonl").open("a") as file:
        file.write(truncated)
    with Index(tmp_path) as index:
        index.add(row("c"))
    assert list(read_index(tmp_path)) == ["a", "c"]


def test_newlines_in_a_text_do_not_split_its_row(tmp_path: Path) -> None:
    with Index(tmp_path) as index:
        index.add(row("a", text='two\nlines "quoted" \u2028'))
    assert read_index(tmp_path)["a"].text == 'two\nlines "quoted" \u2028'


def test_rows_without_optional_fields_are_read(tmp_path: Path) -> None:
    old = {"id": "a", "split": "train", "speaker": "s1", "text": "", "status": "done", "n_frames": 3}
    (tmp_path / "index.jsonl").write_text(json.dumps(old) + "\n")
    assert read_index(tmp_path) == {"a": replace(row("a"), n_frames=3)}


def test_each_part_has_its_own_file_and_the_latest_row_counts(tmp_path: Path) -> None:
    with Index(tmp_path, "1-of-2") as second:
        second.add(row("a", "failed"))
        second.add(row("b"))
    with Index(tmp_path, "0-of-1") as first:
        assert set(first.rows) == {"a", "b"}
        first.add(row("a"))
        first.add(row("b"))  # it is there already
    assert read_index(tmp_path)["a"].status == "done"
    lines = {p.name: len(p.read_text().splitlines()) for p in tmp_path.iterdir()}
    assert lines == {"index.1-of-2.jsonl": 2, "index.0-of-1.jsonl": 1}


def test_a_failure_reason_is_one_line_of_limited_length() -> None:
    assert failed_row(RejectedClip("a", ""), ValueError("two\nlines")).reason == "ValueError: two lines"
    assert len(failed_row(RejectedClip("a", ""), "x" * 9999).reason) == 500
