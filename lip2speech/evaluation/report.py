"""A finished evaluation: its table and its JSON file.

The file records what was measured (the definition of each metric and package versions), the model (by a
fingerprint of its weights) and every clip's score (with a fingerprint of its reference), so that `compare`
can refuse runs that differ in anything but the model.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from lip2speech.evaluation.results import ResultRow, Score, summarize
from lip2speech.evaluation.tables import results_table
from lip2speech.utils.files import atomic_write

FORMAT = "lip2speech evaluation 3"


@dataclass(frozen=True)
class EvaluationReport:
    """A finished evaluation.

    Args:
        model: name of the model, or of the evaluated files.
        split: of the data set, or the name of the references.
        rows: one per system.
        failed: id -> reason of clips without a result; `rows` leave them out.
        n_default_voice: clips synthesized in the model's default voice for lack of other utterances.
        fingerprint: of the model's weights, or of the audio files.
        metrics: from `MetricsConfig.describe`.
        notes: printed below the table.
    """

    model: str
    split: str
    rows: tuple[ResultRow, ...]
    failed: dict[str, str]
    n_default_voice: int = 0
    fingerprint: str = ""
    metrics: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def table(self) -> str:
        """The rows as a Markdown table, followed by notes on missing clips."""
        notes = list(self.notes)
        if self.failed:
            notes.append(f"{len(self.failed)} clips failed and are excluded.")
        if self.n_default_voice:
            notes.append(
                f"{self.n_default_voice} clips use the default voice: no other utterance of their speaker."
            )
        loops = {row.name: sum(s.repetition_loop for s in row.scores) for row in self.rows}
        notes += [f"{name}: {n} transcripts with a repetition loop." for name, n in loops.items() if n]
        return "\n".join([results_table(self.rows), *notes])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None."""
        values: dict[str, Any] = _json_safe({"format": FORMAT, **asdict(self)})
        return values

    def save(self, path: Path) -> None:
        """Write `to_dict` as JSON, atomically."""
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False)
        with atomic_write(Path(path)) as temporary:
            temporary.write_text(text, encoding="utf-8")


def load_report(path: Path) -> EvaluationReport:
    """Read a file of `EvaluationReport.save`. ValueError: another file or version."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
            raise ValueError("another format or version")
        rows = tuple(
            summarize(row["name"], [_score_from_json(score) for score in row["scores"]])
            for row in values.pop("rows")
        )
        return EvaluationReport(**{**values, "rows": rows, "notes": tuple(values["notes"])})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: not a report saved by `lip2speech evaluate --save` of this version ({error})."
        ) from error


def _score_from_json(values: dict[str, Any]) -> Score:
    if unknown := set(values) - {f.name for f in fields(Score)}:
        raise ValueError(f"unknown field {sorted(unknown)[0]!r}")
    restored: dict[str, Any] = {key: math.nan if value is None else value for key, value in values.items()}
    restored["slot_errors"] = tuple(values.get("slot_errors", ()))
    return Score(**restored)


def _json_safe(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _json_safe(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json_safe(inner) for inner in value]
    return value
