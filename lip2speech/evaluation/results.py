"""A finished evaluation: its table, its file, and two of them compared clip by clip.

The file says what was measured (each meter's recipe and the versions behind it), of which model (a sum of its
weights), and every clip's figures beside a sum of its reference. Two runs are compared only where all of that
but the model is the same: a number from another meter or another clip is another number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from lip2speech.audio.io import replacing
from lip2speech.evaluation.metrics import intelligibility as metrics
from lip2speech.evaluation.metrics.registry import COLUMNS, MetricColumn
from lip2speech.evaluation.scorer import Estimate, ResultRow, Score, summarise
from lip2speech.evaluation.tables import cell, markdown, table

KIND = "lip2speech evaluation 2"


@dataclass(frozen=True)
class EvaluationReport:
    """A finished evaluation. `failed`: id -> reason of clips that gave no speech; rows leave them out.

    Args:
        fingerprint: a sum of the model's weights, or of the sounds where there is no model.
        meters: from `meters.describe_meters`.
        notes: what else a reader of the table must know.
    """

    model: str
    split: str
    rows: tuple[ResultRow, ...]
    failed: dict[str, str]
    default_voice: int = 0
    fingerprint: str = ""
    meters: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def table(self) -> str:
        """The rows as a Markdown table, with a line on what is missing."""
        notes = list(self.notes)
        if self.failed:
            notes.append(f"{len(self.failed)} clips gave no speech and are left out of the rows.")
        if self.default_voice:
            notes.append(f"{self.default_voice} clips have no second utterance: the model's own voice spoke.")
        looped = {row.name: sum(s.looped for s in row.scores) for row in self.rows}
        notes += [f"{name}: {count} transcripts run in circles." for name, count in looped.items() if count]
        return "\n".join([table(self.rows), *notes])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; measures without an answer are None."""
        values: dict[str, Any] = _plain({"kind": KIND, **asdict(self)})
        return values

    def save(self, path: Path) -> None:
        """Write `to_dict` as JSON; the file appears whole or not at all."""
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False)
        with replacing(Path(path)) as temporary:
            temporary.write_text(text, encoding="utf-8")


def load_report(path: Path) -> EvaluationReport:
    """What `Report.save` wrote. ValueError: the file holds something else."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict) or values.pop("kind", None) != KIND:
            raise ValueError("of another kind or version")
        rows = tuple(
            summarise(row["name"], [_score(one) for one in row["scores"]]) for row in values.pop("rows")
        )
        return EvaluationReport(**{**values, "rows": rows, "notes": tuple(values["notes"])})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: is no run that `lip2speech evaluate --save` of this version wrote ({error})."
        ) from error


def _score(values: dict[str, Any]) -> Score:
    known = {f.name for f in fields(Score)}
    if strange := set(values) - known:
        raise ValueError(f"unknown field {sorted(strange)[0]!r}")
    given: dict[str, Any] = {key: math.nan if value is None else value for key, value in values.items()}
    given["slots"] = tuple(values.get("slots", ()))
    return Score(**given)


def compare(
    a: EvaluationReport, b: EvaluationReport
) -> list[tuple[ResultRow, ResultRow, dict[str, Estimate]]]:
    """Rows of one name in both, and by column the paired difference, b less a, with its interval.

    Raises:
        ValueError: other meters, other clips, or no row in common; it names what differs.
    """
    check_meters_equal(a, b)
    theirs = {row.name: row for row in b.rows}
    common = [(row, theirs[row.name]) for row in a.rows if row.name in theirs]
    if not common:
        names = [", ".join(row.name for row in run.rows) for run in (a, b)]
        raise ValueError(
            f"the runs have no row in common: {names[0]} in the first, {names[1]} in the second."
        )
    for pair in common:
        check_clips_equal(*pair)
    return [(one, other, differences(one, other)) for one, other in common]


def check_meters_equal(a: EvaluationReport, b: EvaluationReport) -> None:
    """ValueError: names the first meter or package that differs, and how many more do."""
    keys = [key for key in {**a.meters, **b.meters} if a.meters.get(key) != b.meters.get(key)]
    if keys:
        one, other = (run.meters.get(keys[0], "not there") for run in (a, b))
        more = f"; {len(keys) - 1} more differ" if len(keys) > 1 else ""
        raise ValueError(
            f"the runs were measured differently: {keys[0]} is [{one}] in the first and [{other}] in the "
            f"second{more}."
        )


def check_clips_equal(a: ResultRow, b: ResultRow) -> None:
    """ValueError: names the first clip that only one row has, or whose reference or text is another."""
    mine, theirs = ({s.id: (s.reference, s.text) for s in row.scores} for row in (a, b))
    odd = [id for id in sorted({**mine, **theirs}) if mine.get(id) != theirs.get(id)]
    if odd:
        in_both = odd[0] in mine and odd[0] in theirs
        what = "has another reference or text" if in_both else "is in one of them only"
        raise ValueError(f"row {a.name!r}: the clips differ: {odd[0]} {what} ({len(odd)} such clips).")


def differences(a: ResultRow, b: ResultRow) -> dict[str, Estimate]:
    """By column b less a over the clips that have it in both, the same clips drawn for both."""
    found = {key: difference(a, b, column) for key, column in COLUMNS.items()}
    return {key: figure for key, figure in found.items() if math.isfinite(figure.mean)}


def difference(a: ResultRow, b: ResultRow, column: MetricColumn) -> Estimate:
    """Of one column; NaN where no clip has it in both."""
    pairs = list(paired(a, b, column))
    if not pairs:
        return Estimate()
    (xa, wa), (xb, wb) = np.array(pairs, dtype=np.float64).transpose(1, 2, 0)

    def change(drawn: np.ndarray) -> np.ndarray:
        one, other = (metrics.statistic(x, w, drawn, median=column.median) for x, w in ((xa, wa), (xb, wb)))
        return other - one

    mean = float(change(np.arange(len(pairs))[None])[0])
    return Estimate(mean, *metrics.interval(change(metrics.draw(len(pairs)))))


def paired(
    a: ResultRow, b: ResultRow, column: MetricColumn
) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    """Value and weight in both rows of every clip that has the column in both."""
    theirs = {score.id: score for score in b.scores}
    for score in a.scores:
        one, other = score.figure(column), theirs[score.id].figure(column)
        if one[1] and other[1]:
            yield one, other


def comparison(a: EvaluationReport, b: EvaluationReport) -> str:
    """Both runs and their difference as a Markdown table; * where the interval leaves out 0."""
    blocks = [f"a: {a.model} ({a.fingerprint[:16]})\nb: {b.model} ({b.fingerprint[:16]})"]
    for one, other, changes in compare(a, b):
        lines = []
        for key, change in changes.items():
            digits = COLUMNS[key].digits
            told = cell(change, digits, sign=True) + (" *" if change.low > 0 or change.high < 0 else "")
            lines.append([COLUMNS[key].heading, cell(one[key], digits), cell(other[key], digits), told])
        title = f"{one.name}, {one.n} clips"
        blocks.append(markdown([title, "a [95 %]", "b [95 %]", "b - a, paired [95 %]"], lines))
    return "\n\n".join(blocks)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
