"""Result rows as Markdown tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lip2speech.evaluation.metrics.registry import COLUMNS
from lip2speech.evaluation.results import Estimate, ResultRow


def results_table(rows: Sequence[ResultRow]) -> str:
    """One line per row, each value with its 95 % interval; columns without any value are left out."""
    shown = {key: column for key, column in COLUMNS.items() if any(key in row.estimates for row in rows)}
    head = ["row", "n", *(f"{column.heading} [95 %]" for column in shown.values())]
    lines = [
        [row.name, str(row.n), *(format_estimate(row[key], column.digits) for key, column in shown.items())]
        for row in rows
    ]
    return markdown_table(head, lines)


def markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]], *, text_columns: int = 1) -> str:
    """A Markdown table; the first `text_columns` are left-aligned, the others right-aligned. Escapes |."""
    rule = ["---"] * text_columns + ["---:"] * (len(head) - text_columns)
    escaped = ([cell.replace("|", r"\|") for cell in line] for line in (head, rule, *lines))
    return "\n".join("| " + " | ".join(line) + " |" for line in escaped)


def format_estimate(estimate: Estimate, digits: int, *, sign: bool = False) -> str:
    """`0.250 [0.200, 0.300]`, or - if there is no value."""
    mean, low, high = (format_number(value, digits, sign=sign) for value in estimate)
    return f"{mean} [{low}, {high}]" if math.isfinite(estimate.mean) else "-"


def format_number(value: float, digits: int, *, sign: bool = False) -> str:
    """A number, never "-0"; - for NaN."""
    if not math.isfinite(value):
        return "-"
    return f"{round(value, digits) + 0.0:{'+' if sign else ''}.{digits}f}"
