"""A finished run: its table, its file, and what two of them may be asked."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from lip2speech.evaluation.metrics.registry import describe_meters
from lip2speech.evaluation.results import EvaluationReport, compare, comparison, load_report
from lip2speech.evaluation.scorer import Score, summarise
from lip2speech.evaluation.tables import number, table

METERS = {"estoi": "1: recipe", "version of pystoi": "0.4"}


def run(gain: float = 0.0, **changes: object) -> EvaluationReport:
    """A run of 40 clips whose ESTOI differ widely, each better by `gain`, give or take a little."""
    scores = [
        Score(f"c{i}", "bin blue", reference=f"r{i}", words=2, edits=i % 4, slots=(i % 2 == 0, False),
              estoi=i / 100 + gain * (1 + (-1) ** i / 10))
        for i in range(40)
    ]  # fmt: skip
    return replace(
        EvaluationReport("tiny", "test", (summarise("mel", scores),), {}, 0, "abc", METERS), **changes
    )


def test_a_saved_run_comes_back_whole(tmp_path: Path) -> None:
    run().save(tmp_path / "r.json")
    assert load_report(tmp_path / "r.json").rows[0]["estoi"] == run().rows[0]["estoi"]
    assert load_report(tmp_path / "r.json").table() == run().table()
    values = json.loads((tmp_path / "r.json").read_text())
    assert (values["fingerprint"], values["meters"]) == ("abc", METERS)
    one = values["rows"][0]["scores"][3]
    assert (one["id"], one["reference"], one["edits"], one["pesq"]) == ("c3", "r3", 3, None)
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": "lip2speech evaluation 2", "rows": [1]}', "\0"])
def test_another_file_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ValueError, match="r.json: is no run that `lip2speech evaluate --save`"):
        load_report(tmp_path / "r.json")


def test_the_paired_interval_sees_what_both_intervals_hide() -> None:
    ((a, b, changes),) = compare(run(), run(0.02))
    assert a["estoi"].low < b["estoi"].mean < a["estoi"].high
    assert changes["estoi"].mean == pytest.approx(0.02)
    assert 0.019 < changes["estoi"].low < 0.02 < changes["estoi"].high < 0.021
    assert changes["wer"] == (0, 0, 0)
    text = comparison(run(), run(0.02))
    assert "| ESTOI |" in text and "+0.020 [+0.019, +0.021] *" in text and "+0.000 [+0.000, +0.000] |" in text


def test_runs_of_other_meters_are_refused_by_name() -> None:
    other = run(meters={**METERS, "version of pystoi": "0.5", "pesq": "1"})
    with pytest.raises(ValueError, match=r"pystoi is \[0.4\] in the first and \[0.5\] in the second; 1 more"):
        compare(run(), other)


def test_runs_of_other_clips_are_refused_by_name() -> None:
    scores = run().rows[0].scores
    fewer = run(rows=(summarise("mel", scores[1:]),))
    with pytest.raises(ValueError, match=r"c0 is in one of them only \(1 such clips\)"):
        compare(run(), fewer)
    recut = run(rows=(summarise("mel", [*scores[:-1], replace(scores[-1], reference="x")]),))
    with pytest.raises(ValueError, match="c39 has another reference or text"):
        compare(run(), recut)
    with pytest.raises(ValueError, match="no row in common: mel in the first, codes in the second"):
        compare(run(), run(rows=(summarise("codes", scores),)))


def test_a_table_leaves_out_columns_without_an_answer_and_tells_of_loops() -> None:
    rows = (summarise("mel", [Score("a", estoi=0.5, looped=True)]), summarise("codes", [Score("a")]))
    text = table(rows)
    assert text.splitlines()[0] == "| row | n | ESTOI [95 %] |"
    assert text.splitlines()[2:] == ["| mel | 1 | 0.500 [0.500, 0.500] |", "| codes | 1 | - |"]
    assert "mel: 1 transcripts run in circles." in run(rows=rows).table()
    assert [number(x, 1, sign=True) for x in (-0.01, 1.0, math.nan)] == ["+0.0", "+1.0", "-"]


def test_the_meters_that_were_used_are_told_with_their_versions() -> None:
    told = describe_meters(["wer", "estoi"])
    assert {"wer", "estoi", "recogniser", "interval", "version of pystoi", "version of pocketsphinx"} <= set(
        told
    )
    assert "version of pesq" not in told and "recogniser" not in describe_meters(["estoi"])
    with pytest.raises(ValueError, match="similarity needs a judge: --encoder DIR"):
        describe_meters(["similarity"])
