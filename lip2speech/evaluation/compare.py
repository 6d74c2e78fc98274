"""Two evaluations compared clip by clip: paired bootstrap of the differences.

Both must have been measured with the same metric definitions on the same clips and references.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lip2speech.evaluation.metrics.bootstrap import percentile_interval, resample, statistic
from lip2speech.evaluation.metrics.registry import COLUMNS, MetricColumn
from lip2speech.evaluation.report import EvaluationReport
from lip2speech.evaluation.results import Estimate, ResultRow
from lip2speech.evaluation.tables import format_estimate, markdown_table


@dataclass(frozen=True)
class RowComparison:
    """A row of both reports, and by column the paired difference, b - a."""

    a: ResultRow
    b: ResultRow
    differences: dict[str, Estimate]


def compare(a: EvaluationReport, b: EvaluationReport) -> list[RowComparison]:
    """Compare the rows with the same name.

    Raises:
        ValueError: different metrics or clips, or no row in common; the message names what differs.
    """
    check_same_metrics(a, b)
    rows_b = {row.name: row for row in b.rows}
    common = [(row, rows_b[row.name]) for row in a.rows if row.name in rows_b]
    if not common:
        names_a, names_b = (", ".join(row.name for row in report.rows) for report in (a, b))
        raise ValueError(
            f"the reports have no row in common: {names_a} in the first, {names_b} in the second."
        )
    for pair in common:
        check_same_clips(*pair)
    return [RowComparison(one, other, paired_differences(one, other)) for one, other in common]


def check_same_metrics(a: EvaluationReport, b: EvaluationReport) -> None:
    """ValueError: names the first metric or package version that differs, and how many more do."""
    keys = [key for key in {**a.metrics, **b.metrics} if a.metrics.get(key) != b.metrics.get(key)]
    if keys:
        one, other = (report.metrics.get(keys[0], "missing") for report in (a, b))
        more = f"; {len(keys) - 1} more differ" if len(keys) > 1 else ""
        raise ValueError(
            f"the reports were measured differently: {keys[0]} is [{one}] in the first and [{other}] in the "
            f"second{more}."
        )


def check_same_clips(a: ResultRow, b: ResultRow) -> None:
    """ValueError: names the first clip that only one row has, or whose reference or text differs."""
    clips_a, clips_b = ({s.id: (s.reference_fingerprint, s.text) for s in row.scores} for row in (a, b))
    different = [id for id in sorted({**clips_a, **clips_b}) if clips_a.get(id) != clips_b.get(id)]
    if different:
        in_both = different[0] in clips_a and different[0] in clips_b
        what = "has another reference or text" if in_both else "is missing in one of them"
        count = len(different)
        raise ValueError(f"row {a.name!r}: the clips differ: {different[0]} {what} ({count} clips in all).")


def paired_differences(a: ResultRow, b: ResultRow) -> dict[str, Estimate]:
    """b - a by column, over the clips that have a value in both."""
    estimates = {key: paired_difference(a, b, column) for key, column in COLUMNS.items()}
    return {key: found for key, found in estimates.items() if math.isfinite(found.mean)}


def paired_difference(a: ResultRow, b: ResultRow, column: MetricColumn) -> Estimate:
    """b - a of one column, both resampled with the same indices; NaN if no clip has a value in both."""
    pairs = list(paired_values(a, b, column))
    if not pairs:
        return Estimate()
    (xa, wa), (xb, wb) = np.array(pairs, dtype=np.float64).transpose(1, 2, 0)

    def difference(indices: NDArray[Any]) -> NDArray[Any]:
        one, other = (statistic(x, w, indices, median=column.median) for x, w in ((xa, wa), (xb, wb)))
        return np.asarray(other - one)

    mean = float(difference(np.arange(len(pairs))[None])[0])
    return Estimate(mean, *percentile_interval(difference(resample(len(pairs)))))


def paired_values(
    a: ResultRow, b: ResultRow, column: MetricColumn
) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    """(value, weight) in both rows, for every clip that has a value in both."""
    scores_b = {score.id: score for score in b.scores}
    for score in a.scores:
        one, other = score.value(column), scores_b[score.id].value(column)
        if one[1] and other[1]:
            yield one, other


def comparison_table(a: EvaluationReport, b: EvaluationReport) -> str:
    """Both reports and their differences as Markdown tables; * if the interval excludes 0."""
    blocks = [f"a: {a.model} ({a.fingerprint[:16]})\nb: {b.model} ({b.fingerprint[:16]})"]
    for row in compare(a, b):
        lines = []
        for key, change in row.differences.items():
            digits = COLUMNS[key].digits
            significant = " *" if change.low > 0 or change.high < 0 else ""
            cells = [format_estimate(row.a[key], digits), format_estimate(row.b[key], digits)]
            lines.append(
                [COLUMNS[key].heading, *cells, format_estimate(change, digits, sign=True) + significant]
            )
        title = f"{row.a.name}, {row.a.n} clips"
        blocks.append(markdown_table([title, "a [95 %]", "b [95 %]", "b - a, paired [95 %]"], lines))
    return "\n\n".join(blocks)
