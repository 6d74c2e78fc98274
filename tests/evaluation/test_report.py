"""The table and the file of a report (lip2speech/evaluation/{report,tables}.py)."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from lip2speech.evaluation.report import load_report
from lip2speech.evaluation.results import Score, summarize
from lip2speech.evaluation.tables import format_number, results_table
from tests.evaluation.reports import METRICS, make_report


def test_a_saved_report_is_restored_with_the_same_rows(tmp_path: Path) -> None:
    make_report().save(tmp_path / "r.json")
    loaded = load_report(tmp_path / "r.json")
    assert loaded == make_report()
    assert loaded.table() == make_report().table()
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


def test_the_file_holds_plain_values_and_null_for_what_was_not_measured(tmp_path: Path) -> None:
    make_report().save(tmp_path / "r.json")
    values = json.loads((tmp_path / "r.json").read_text())
    assert (values["fingerprint"], values["metrics"]) == ("abc", METRICS)
    score = values["rows"][0]["scores"][3]
    assert (score["id"], score["reference_fingerprint"], score["word_edits"]) == ("c3", "r3", 3)
    assert score["pesq"] is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "lip2speech evaluation 3", "rows": [1]}', "\0"])
def test_any_other_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ValueError, match="r.json: not a report saved by `lip2speech evaluate --save`"):
        load_report(tmp_path / "r.json")


def test_a_file_with_an_unknown_field_is_refused(tmp_path: Path) -> None:
    make_report().save(tmp_path / "r.json")
    text = (tmp_path / "r.json").read_text()
    (tmp_path / "r.json").write_text(text.replace('"estoi"', '"estol"'))
    with pytest.raises(ValueError, match="unknown field 'estol'"):
        load_report(tmp_path / "r.json")


def test_columns_without_a_value_are_left_out_of_the_table() -> None:
    rows = (summarize("mel", [Score("a", estoi=0.5)]), summarize("codes", [Score("a")]))
    assert results_table(rows).splitlines() == [
        "| row | n | ESTOI [95 %] |",
        "| --- | ---: | ---: |",
        "| mel | 1 | 0.500 [0.500, 0.500] |",
        "| codes | 1 | - |",
    ]


def test_a_bar_in_a_heading_is_escaped() -> None:
    table = results_table((summarize("mel", [Score("a", mel_offset_ms=-20.0)]),))
    assert table.splitlines()[0] == r"| row | n | median offset (ms) [95 %] | mean \|offset\| (ms) [95 %] |"


def test_failed_clips_default_voices_and_loops_are_noted_below_the_table() -> None:
    rows = (summarize("mel", [Score("a", repetition_loop=True)]),)
    table = replace(make_report(), rows=rows, failed={"b": "no face"}, n_default_voice=2).table()
    assert table.splitlines()[-3:] == [
        "1 clips failed and are excluded.",
        "2 clips use the default voice: no other utterance of their speaker.",
        "mel: 1 transcripts with a repetition loop.",
    ]


def test_a_rounded_zero_has_no_minus_sign() -> None:
    assert [format_number(x, 1, sign=True) for x in (-0.01, 1.0, math.nan)] == ["+0.0", "+1.0", "-"]
