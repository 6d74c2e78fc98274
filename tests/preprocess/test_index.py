"""The index of a prepared folder: ids that may be file names, rows that survive a crash."""

import json
from pathlib import Path

import pytest

from preprocess.index import Index, Row, check_id, clip_path, read_index


def row(clip_id: str, status: str = "done", text: str = "") -> Row:
    return Row(clip_id, "train", "s1", text, status)


@pytest.mark.parametrize("clip_id", ["a", "s1_bbaf2n", "s1/bbaf2n", "-Xy_9/00001", "a.b+c", "x" * 200])
def test_ordinary_ids_are_file_names(clip_id: str, tmp_path: Path) -> None:
    assert clip_path(tmp_path, clip_id) == tmp_path / "clips" / f"{clip_id}.safetensors"


@pytest.mark.parametrize(
    "clip_id",
    [
        "",
        "..",
        "../x",
        "a/../b",
        "/etc/x",
        "a//b",
        "a/",
        ".hidden",
        "a/.b",
        "a\\b",
        "a b",
        "a\n",
        "a\0b",
        "é",
        "x" * 201,
    ],
)
def test_hostile_ids_are_refused(clip_id: str) -> None:
    with pytest.raises(ValueError, match="cannot be a file name.*rename the clip"):
        check_id(clip_id)


def test_the_last_row_of_an_id_counts_and_closing_leaves_it_alone_in_the_order_of_ids(tmp_path: Path) -> None:
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


def test_rows_are_there_before_the_run_ends(tmp_path: Path) -> None:
    index = Index(tmp_path)
    index.add(row("a"))
    assert set(read_index(tmp_path)) == {"a"}
    index.close()


@pytest.mark.parametrize("torn", ['{"id": "b", "spl', "[]", "null", '{"id": "b"}', "\ufffd"])
def test_a_torn_line_is_left_out(tmp_path: Path, torn: str) -> None:
    with Index(tmp_path) as index:
        index.add(row("a"))
    with (tmp_path / "index.jsonl").open("a") as file:
        file.write(torn)
    with Index(tmp_path) as index:
        index.add(row("c"))
    assert list(read_index(tmp_path)) == ["a", "c"]


def test_newlines_in_a_text_stay_inside_its_row(tmp_path: Path) -> None:
    with Index(tmp_path) as index:
        index.add(row("a", text='two\nlines "quoted" \u2028'))
    assert read_index(tmp_path)["a"].text == 'two\nlines "quoted" \u2028'


def test_a_row_without_its_clip_is_not_done(tmp_path: Path) -> None:
    with Index(tmp_path) as index:
        index.add(row("a"))
        assert not index.is_done("a")
        clip_path(tmp_path, "a").parent.mkdir()
        clip_path(tmp_path, "a").touch()
        assert index.is_done("a")
