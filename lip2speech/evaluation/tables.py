"""Rows as a Markdown table, with the columns that have anything to tell; intervals are 95 %, over clips."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lip2speech.evaluation.metrics.registry import COLUMNS
from lip2speech.evaluation.scorer import Estimate, ResultRow


def table(rows: Sequence[ResultRow]) -> str:
    """One line for each row; a column that no row has is left out."""
    shown = {key: column for key, column in COLUMNS.items() if any(key in row.figures for row in rows)}
    head = ["row", "n", *(f"{column.heading} [95 %]" for column in shown.values())]
    lines = [
        [row.name, str(row.n), *(cell(row[key], column.digits) for key, column in shown.items())]
        for row in rows
    ]
    return markdown(head, lines)


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table whose first column is of words and whose others are of numbers."""
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *lines))


def cell(figure: Estimate, digits: int, *, sign: bool = False) -> str:
    """`0.250 [0.200, 0.300]`, or - for nothing."""
    mean, low, high = (number(value, digits, sign=sign) for value in figure)
    return f"{mean} [{low}, {high}]" if math.isfinite(figure.mean) else "-"


def number(value: float, digits: int, *, sign: bool = False) -> str:
    """A number, never "-0"; - for none."""
    if not math.isfinite(value):
        return "-"
    return f"{round(value, digits) + 0.0:{'+' if sign else ''}.{digits}f}"
